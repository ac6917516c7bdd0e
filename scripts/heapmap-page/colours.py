"""The colours of size classes: one ramp, by the logarithm of the block size.

Made in OKLCH (Ottosson, "A perceptual color space for image processing", 2020), in which equal steps look equal. Lightness rises all the way, from
violet over blue and green to yellow, so that the order can be told without telling hues apart, and in grey print.
"""

import math

# Lightness, chroma and hue (degrees) of the smallest and the largest class.
DARKEST, LIGHTEST = 0.40, 0.78
CHROMA = 0.15
FIRST_HUE, LAST_HUE = 305, 85


def ramp(position, lift=0.0):
    """The colour at a position from 0 to 1 as `#rrggbb`, lighter by `lift` for dark pages."""
    lightness = DARKEST + (LIGHTEST - DARKEST) * position + lift
    hue = math.radians(FIRST_HUE + (LAST_HUE - FIRST_HUE) * position)
    chroma = CHROMA
    while True:
        channels = linear_rgb(lightness, chroma * math.cos(hue), chroma * math.sin(hue))
        # Colours that no screen has get paler until it has them; grey it always has.
        if chroma <= 0 or all(0 <= channel <= 1 for channel in channels):
            return "#" + "".join(f"{round(255 * gamma(min(max(channel, 0), 1))):02x}" for channel in channels)
        chroma -= 0.005


def linear_rgb(lightness, a, b):
    """OKLab to linear sRGB, with the published matrices."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def gamma(channel):
    """Linear sRGB to sRGB."""
    return 12.92 * channel if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055


def of_classes(classes, lift=0.0):
    """The colour of each size class; that of class 0, which has no blocks, is never drawn."""
    sizes = [max(size, 1) for size, _, _ in classes]
    smallest, largest = math.log2(min(sizes[1:])), math.log2(max(sizes[1:]))
    span = max(largest - smallest, 1)
    return [ramp(max(math.log2(size) - smallest, 0) / span, lift) for size in sizes]
