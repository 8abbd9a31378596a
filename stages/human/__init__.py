"""What several stages know of a body: joint tables, rotations, skeleton, body model.

Import the modules themselves (`stages.human.joints`, `.rotation`, `.skeleton`, `.body`): this
package imports nothing, so that a stage without torch never pays for it.
"""
