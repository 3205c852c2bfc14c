"""Every stage of bead tracking and spot finding in plain NumPy: slow, and easy to check.

The native kernels compute the same; the tests compare the two. Read this to learn what they do.
Pixel (0, 0) has its centre at x = 0, y = 0; x counts columns and y rows. Images are (height,
width) of any number type.

Sources:
    Gosse & Croquette, Biophys. J. 82, 3314 (2002): centre by autoconvolution of lines, height by
    comparing radial profiles with profiles at known heights.
    van Loenhout et al., Biophys. J. 102, 2362 (2012): how far interpolation of radial profiles
    carries, and that a symmetric pattern is best located by its own profile.
    Cnossen et al., Rev. Sci. Instrum. 85, 103712 (2014): the same live for many beads.
    Loy & Zelinsky, IEEE PAMI 25, 959 (2003): votes along the gradient.
    Crocker & Grier, J. Colloid Interface Sci. 179, 298 (1996): band-pass, maxima, centroids.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
Float = NDArray[np.float64]
Point = tuple[float, float]

DISTANCE_TO_SIGMA = 1.2533
"""Of a normal distribution: standard deviation over mean distance from the middle, sqrt(pi/2)."""


# ---------------------------------------------------------------- coarse centre


def border_level(region: Image) -> tuple[float, float]:
    """Median of the outermost pixels, and their spread: mean distance from it, as a sigma."""
    image = region.astype(float)
    border = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    median = float(np.median(border))
    return median, DISTANCE_TO_SIGMA * float(np.abs(border - median).mean())


def centre_of_mass(region: Image, level: float, floor: float) -> Point | None:
    """Centre of mass of max(0, |I - level| - floor) over every second row; None without mass."""
    weight = np.maximum(0.0, np.abs(region.astype(float) - level) - floor)[::2]
    mass = weight.sum()
    if not mass > 0:
        return None
    rows, columns = np.mgrid[0 : len(region) : 2, 0 : region.shape[1]]
    return float((weight * columns).sum() / mass), float((weight * rows).sum() / mass)


def mirror_of_line(line: Float) -> float | None:
    """Where a line is most like its mirror image; None if at the end of the range searched.

    Candidates are the pixels, and the points half-way between, within an eighth of the line from
    its middle. The figure is the correlation coefficient of the two sides; about a pixel, sums are
    taken by trapezia and between two by midpoints, so that both approximate the same integrals. A
    parabola through the best candidate and its neighbours gives the rest.
    """
    width = len(line)
    search = max(2, width // 8)
    first, count = width // 2 - search, 2 * search + 1
    reach = min(first, width - 1 - (first + count))
    if reach < 3:
        return None
    score = np.zeros(2 * count)
    for c in range(first, first + count):
        trapezia = np.ones(2 * reach + 1)
        trapezia[[0, -1]] = 0.5
        about = line[c - reach : c + reach + 1]
        between = line[c + 1 - reach : c + 1 + reach]
        score[2 * (c - first)] = _likeness(about, about[::-1], trapezia)
        score[2 * (c - first) + 1] = _likeness(between, between[::-1], np.ones(2 * reach))
    best = int(score.argmax())
    if best in (0, 2 * count - 1) or not score[best] > 0:
        return None
    before, top, after = score[best - 1 : best + 2]
    curvature = before - 2 * top + after
    offset = (before - after) / (2 * curvature) if curvature < 0 else 0.0
    return first + (best + float(offset)) / 2


def _likeness(a: Float, b: Float, weight: Float) -> float:
    """Weighted correlation coefficient of a line and its reverse."""
    mean = (weight * a).sum() / weight.sum()
    variance = (weight * a * a).sum() / weight.sum() - mean**2
    return float(((weight * a * b).sum() / weight.sum() - mean**2) / variance) if variance else 0.0


def mirror_centre(region: Image, x: float, y: float) -> Point | None:
    """Centre by symmetry (Gosse & Croquette): a band of rows near y gives x, one of columns y."""
    image = region.astype(float)
    band = max(1, min(image.shape) // 16)

    def along(lines: Float, middle: float) -> float | None:
        first = int(np.clip(_nearest(middle) - band, 0, len(lines) - 1))
        last = int(np.clip(_nearest(middle) + band, 0, len(lines) - 1))
        return mirror_of_line(lines[first : last + 1].sum(axis=0))

    new_x = along(image, y)
    new_y = None if new_x is None else along(image.T, new_x)
    if new_x is None or new_y is None:
        return None
    if abs(new_y - y) > band:
        new_x = along(image, new_y)
    return None if new_x is None else (new_x, new_y)


def _nearest(value: float) -> int:
    """Nearest integer, halves away from zero."""
    return int(np.floor(abs(value) + 0.5) * np.sign(value))


# ---------------------------------------------------------------- rings


def tents(distance: Float, radii: int) -> Float:
    """Weight of each pixel for each radius: 1 at the radius, 0 one step away; (pixels, radii)."""
    return np.maximum(0.0, 1.0 - np.abs(distance[:, None] - np.arange(radii)))


def _around(image: Image, x: float, y: float, step: float) -> tuple[Float, Float, Float, Float]:
    """Distance in steps, dx, dy and intensity of every pixel."""
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    dx, dy = (columns - x).ravel(), (rows - y).ravel()
    return np.hypot(dx, dy) / step, dx, dy, image.astype(float).ravel()


def radial_profile(
    image: Image, x: float, y: float, step: float, radii: int
) -> tuple[Float, Float]:
    """Mean intensity and number of pixels at the radii 0, step, 2 step ... px; each (radii,)."""
    distance, _, _, value = _around(image, x, y, step)
    share = tents(distance, radii)
    weight = share.sum(axis=0)
    return (share * value[:, None]).sum(axis=0) / weight, weight


def slopes(profile: Float, step: float) -> Float:
    """Derivative of a profile at its radii, per px: five points, fewer at the end.

    Below radius 0 the profile goes on as its own mirror image, so that its slope there is 0.
    """
    n = len(profile)
    p = np.concatenate([profile[2:0:-1], profile])
    slope = np.empty(n)
    k = np.arange(2, n)
    slope[: n - 2] = (8 * (p[k + 1] - p[k - 1]) - (p[k + 2] - p[k - 2])) / 12
    slope[n - 2] = (profile[n - 1] - profile[n - 3]) / 2
    slope[n - 1] = profile[n - 1] - profile[n - 2]
    return slope / step


class Fit(NamedTuple):
    """One Gauss-Newton step towards the best centre, in px, and how well rings explain the image.

    `quality` is the share of the variance about the bead that the rings explain (0 to 1), and
    `saturated` the share of pixels at or above saturation.
    """

    dx: float
    dy: float
    quality: float
    saturated: float


def ring_fit(
    image: Image, x: float, y: float, step: float, profile: Float, saturation: float = np.inf
) -> Fit:
    """The image against rings of this profile: I(x, y) = P(r), hence dI/dcx = -P'(r) dx / r."""
    distance, dx, dy, value = _around(image, x, y, step)
    share = tents(distance, len(profile))
    part = share.sum(axis=1)
    error = part * value - share @ profile
    rise = share @ slopes(profile, step)
    scale = -rise / (step * np.maximum(distance, 1e-6))
    jacobian = np.stack([scale * dx, scale * dy])
    normal, gradient = jacobian @ jacobian.T, jacobian @ error
    shift = np.zeros(2)
    if np.linalg.det(normal) > 1e-6 * np.trace(normal) ** 2:
        shift = np.linalg.solve(normal, gradient)
    mean = (part * value).sum() / part.sum()
    variance = (part * value**2).sum() - part.sum() * mean**2
    residual = (error**2).sum() - shift @ gradient
    quality = float(np.clip(1 - residual / variance, 0, 1)) if variance > 0 else 0.0
    saturated = float(part[value >= saturation].sum() / part.sum())
    return Fit(float(shift[0]), float(shift[1]), quality, saturated)


# ---------------------------------------------------------------- height


def prepared(profiles: Float) -> Float:
    """Profiles (..., radii) as vectors whose products are weighted correlation coefficients.

    The weight of a radius is the number of pixels that bear on it: proportional to the radius, and
    1/6 of a step for radius 0, the volume under the tent about it.
    """
    n = profiles.shape[-1]
    weight = np.arange(n, dtype=float)
    weight[0] = 1 / 6
    mean = (profiles * weight).sum(axis=-1, keepdims=True) / weight.sum()
    vectors = np.sqrt(weight) * (profiles - mean)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Float = vectors / np.where(length > 0, length, np.inf)
    return result


def match(profiles: Float, z: Float, profile: Float) -> tuple[float, float, bool]:
    """Height at which a table (heights, radii) is most like a profile; its likeness; if inside.

    The likest row first; then Gauss-Newton on |p - g T(u)|^2 over the gain g and the height u in
    rows, where T(u) is the cubic through four neighbouring rows.
    """
    radii = min(profiles.shape[1], len(profile))
    rows, p = prepared(profiles[:, :radii].astype(float)), prepared(profile[:radii].astype(float))
    best = int((rows @ p).argmax())
    u, likeness = float(best), float((rows @ p).max())
    last = len(z) - 1
    for _ in range(8):
        first = int(np.clip(np.floor(u) - 1, 0, last - 3))
        value, rate = cubic(u - first)
        t, d = value @ rows[first : first + 4], rate @ rows[first : first + 4]
        gain = t @ p / (t @ t)
        likeness = float(t @ p / np.sqrt(t @ t))
        across = gain * (d @ d - (t @ d) ** 2 / (t @ t))
        if not across > 0:
            break
        move = (d @ p - (t @ d) * (t @ p) / (t @ t)) / across
        new = float(np.clip(u + move, best - 1, best + 1))
        settled = abs(new - u) < 1e-4
        u = new
        if settled:
            break
    first = int(np.clip(np.floor(u) - 1, 0, last - 3))
    return float(cubic(u - first)[0] @ z[first : first + 4]), likeness, 0 <= u <= last


def cubic(t: float) -> tuple[Float, Float]:
    """Weights of four neighbours 0, 1, 2, 3 for the value and the slope at t (Lagrange)."""
    nodes = np.arange(4)
    value, rate = np.ones(4), np.zeros(4)
    for i in nodes:
        others = nodes[nodes != i]
        value[i] = np.prod((t - others) / (i - others))
        for leave in others:
            kept = others[others != leave]
            rate[i] += np.prod(t - kept) / np.prod(i - others)
    return value, rate


# ---------------------------------------------------------------- finding


def gradients(image: Image) -> tuple[Float, Float]:
    """Sobel's operator along x and y, not normalised; 0 at the edge."""
    i = image.astype(float)
    gx, gy = np.zeros(i.shape), np.zeros(i.shape)
    right, left = i[:, 2:], i[:, :-2]
    gx[1:-1, 1:-1] = (right - left)[:-2] + 2 * (right - left)[1:-1] + (right - left)[2:]
    below, above = i[2:], i[:-2]
    d = below - above
    gy[1:-1, 1:-1] = d[:, :-2] + 2 * d[:, 1:-1] + d[:, 2:]
    return gx, gy


def ring_votes(image: Image, nearest: int, farthest: int) -> Float:
    """Votes of all pixels along their gradient, both ways: high in the middle of rings.

    Only pixels vote whose gradient is above three times the noise, told by the lowest quarter of
    gradients (Rayleigh's distribution has it below 0.7585 sigma).
    """
    gx, gy = gradients(image)
    length = np.hypot(gx, gy)
    sample = length[1:-1:3, 1:-1:3].ravel()
    threshold = 3 * np.partition(sample, sample.size // 4)[sample.size // 4] / 0.7585
    votes = np.zeros(image.shape)
    rows, columns = np.nonzero(length > threshold)
    ux, uy = gx[rows, columns] / length[rows, columns], gy[rows, columns] / length[rows, columns]
    for t in range(nearest, farthest + 1):
        for sign in (1, -1):
            x = np.floor(columns + sign * t * ux + 0.5).astype(int)
            y = np.floor(rows + sign * t * uy + 0.5).astype(int)
            inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
            np.add.at(votes, (y[inside], x[inside]), 1)
    return votes


def bandpass(image: Image, box: int, sign: float) -> Float:
    """Binomial smoothing (1 4 6 4 1, sigma 1 px) less the mean over a box, not below 0.

    Beyond the edge, smoothing repeats the outermost pixel; the box is cut off there.
    """
    i = image.astype(float)
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    height, width = i.shape
    padded = np.pad(i, 2, mode="edge")
    rows = sum(kernel[k] * padded[k : k + height] for k in range(5))
    smooth = sum(kernel[k] * rows[:, k : k + width] for k in range(5))
    result: Float = np.maximum(0.0, sign * (smooth - box_mean(i, box)))
    return result


def box_mean(image: Float, box: int) -> Float:
    """Mean over a square of side 2 (box // 2) + 1, cut off at the edge."""
    reach = box // 2

    def cut(size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        at = np.arange(size)
        return np.maximum(0, at - reach), np.minimum(size, at + reach + 1)

    (top, bottom), (left, right) = cut(image.shape[0]), cut(image.shape[1])
    total = np.pad(image, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums = total[bottom][:, right] - total[top][:, right]
    sums = sums - total[bottom][:, left] + total[top][:, left]
    result: Float = sums / ((bottom - top)[:, None] * (right - left)[None, :])
    return result


def peaks(image: Float, threshold: float, separation: float, margin: int, most: int) -> Float:
    """Maxima (x, y, height) above a threshold, highest first, none within `separation`."""
    edge = max(1, margin)
    height, width = image.shape
    found = []
    for y in range(edge, height - edge):
        for x in range(edge, width - edge):
            here = image[y, x]
            if here > threshold and here >= image[y - 1 : y + 2, x - 1 : x + 2].max():
                found.append((float(x), float(y), float(here)))
    found.sort(key=lambda peak: -peak[2])
    kept: list[tuple[float, float, float]] = []
    apart = max(1.0, separation) ** 2
    for peak in found:
        near = [other for other in kept if _squared_distance(peak, other) < apart]
        if len(kept) < most and not near:
            kept.append(peak)
    return np.array(kept).reshape(-1, 3)


def _squared_distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def centroid(image: Float, x: int, y: int, radius: float) -> tuple[float, float, float, float]:
    """Centroid, mass and radius of gyration within a disc, which follows its centroid."""
    height, width = image.shape
    rows, columns = np.mgrid[0:height, 0:width]
    for _ in range(11):
        dx, dy = columns - x, rows - y
        value = np.where(dx**2 + dy**2 <= radius**2, image, 0.0)
        mass = value.sum()
        off_x, off_y = (value * dx).sum() / mass, (value * dy).sum() / mass
        step_x, step_y = int(off_x > 0.6) - int(off_x < -0.6), int(off_y > 0.6) - int(off_y < -0.6)
        if step_x == 0 and step_y == 0:
            break
        x, y = int(np.clip(x + step_x, 0, width - 1)), int(np.clip(y + step_y, 0, height - 1))
    square = (value * (dx**2 + dy**2)).sum() / mass - off_x**2 - off_y**2
    return x + float(off_x), y + float(off_y), float(mass), float(np.sqrt(max(0.0, square)))
