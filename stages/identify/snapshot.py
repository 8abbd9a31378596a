"""The whole gallery at one moment, in the form that the search wants."""

from __future__ import annotations

import numpy as np

from stages.identify import schema
from stages.identify.gallery import Gallery
from stages.identify.records import Snapshot, TemplateSet
from stages.identify.vectors import read_vector


def take_snapshot(gallery: Gallery) -> Snapshot:
    """Return all names and templates, as one transaction sees them.

    Raises:
        GalleryError: locked or damaged.
    """
    with gallery.look():
        names = dict(gallery.rows("SELECT id, name FROM people ORDER BY id"))
        kinds = gallery.rows(
            "SELECT network, weights_hash, min(c), max(c), min(p), max(p), count(*) "
            "FROM templates GROUP BY network, weights_hash ORDER BY network, weights_hash"
        )
        sets = tuple(_template_set(gallery, *kind) for kind in kinds)
        if not names.keys() >= {owner for one in sets for owner in one.owners}:
            raise schema.damaged(gallery.path, "there are templates of nobody")
        return Snapshot(gallery.revision(), names, sets)


def _template_set(
    gallery: Gallery,
    network: str,
    weights_hash: str,
    c: int,
    c_max: int,
    p: int,
    p_max: int,
    count: int,
) -> TemplateSet:
    if (c, p) != (c_max, p_max):
        raise schema.damaged(gallery.path, f"templates of {network} differ in shape")
    vectors = np.empty((count, c, p), np.float32)
    owners = []
    cursor = gallery.write(
        "SELECT person_id, id, vector, crc32 FROM templates "
        "WHERE network = ? AND weights_hash = ? ORDER BY person_id, id",
        (network, weights_hash),
    )
    with schema.readable_errors(gallery.path):
        for row, (owner, number, blob, crc32) in enumerate(cursor):
            vectors[row] = read_vector(gallery.path, f"template {number}", c, p, blob, crc32)
            owners.append(owner)
    return TemplateSet(network, weights_hash, tuple(owners), vectors)
