"""A drawn walker that MediaPipe takes for a person, and scenes with it."""

import cv2
import numpy as np

SKIN, COAT, TROUSERS, SHOES = (140, 170, 220), (40, 40, 160), (90, 60, 40), (30, 30, 30)


def background(width, height, seed=0):
    """A grey wall over a brown floor with a little texture: uint8 [h,w,3]."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), (190, 190, 185), np.uint8)
    picture[int(0.7 * height) :] = (120, 140, 150)
    noise = rng.integers(-6, 7, (height, width, 1))
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def draw(picture, x, feet_y, size, phase, coat=COAT):
    """Draw a walker seen from the front, `size` pixels tall, into uint8 [h,w,3]."""

    def at(dx, up):
        return round(x + dx * size), round(feet_y - up * size)

    def limb(points, colour, thick):
        line = np.array([at(*point) for point in points], np.int32)
        cv2.polylines(picture, [line], False, colour, max(1, round(thick * size)), cv2.LINE_AA)

    swing = np.sin(phase)
    for side in (-1, 1):
        lift = 0.05 * max(0.0, side * swing)
        limb(
            ((side * 0.05, 0.5), (side * 0.06, 0.28), (side * 0.065, 0.05 + lift)), TROUSERS, 0.085
        )
        limb(((side * 0.065, 0.03 + lift), (side * 0.085, 0.02 + lift)), SHOES, 0.05)
        arm = 0.02 * side * swing
        limb(((side * 0.11, 0.8), (side * 0.15, 0.64), (side * 0.15, 0.5 + arm)), coat, 0.06)
        limb(((side * 0.15, 0.49 + arm), (side * 0.15, 0.46 + arm)), SKIN, 0.045)
    trunk = [at(-0.12, 0.81), at(0.12, 0.81), at(0.095, 0.5), at(-0.095, 0.5)]
    cv2.fillPoly(picture, [np.array(trunk, np.int32)], coat, cv2.LINE_AA)
    limb(((0, 0.8), (0, 0.86)), SKIN, 0.06)
    head = max(1, round(0.055 * size)), max(1, round(0.075 * size))
    cv2.ellipse(picture, at(0, 0.92), head, 0, 0, 360, SKIN, -1, cv2.LINE_AA)
    cv2.ellipse(picture, at(0, 0.945), head, 0, 180, 360, (30, 40, 60), -1, cv2.LINE_AA)
    dot = max(1, round(0.008 * size))
    for side in (-1, 1):
        cv2.circle(picture, at(side * 0.02, 0.925), dot, (20, 20, 20), -1, cv2.LINE_AA)
    limb(((-0.015, 0.88), (0.015, 0.88)), (60, 60, 150), 0.008)
    limb(((0, 0.92), (0, 0.9)), (110, 140, 190), 0.01)


def walk(count, width=640, height=360, size=200, speed=6.0, start=120.0, rest=3):
    """Frames uint8 [h,w,3] with one walker from left to right, after `rest` empty ones."""
    scene = background(width, height)
    frames = []
    for index in range(count):
        picture = scene.copy()
        if index >= rest:
            draw(picture, start + speed * (index - rest), 0.93 * height, size, 0.6 * index)
        picture.setflags(write=False)
        frames.append(picture)
    return frames
