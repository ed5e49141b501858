//! Hue.

use clip::image::RgbImage;

/// Turns the hue of every pixel by `turns` of the color circle, −0.5 to 0.5 (`torchvision`,
/// `adjust_hue`); gray pixels have none.
///
/// The way there is the reference's, from RGB to hue, saturation and value and back, but for
/// saturation: what it is needed for follows from the largest and the smallest channel.
pub fn hue(pixels: &mut RgbImage, turns: f32) {
    let (values, _) = pixels.as_chunks_mut::<3>();
    for pixel in values {
        *pixel = turned(*pixel, turns);
    }
}

fn turned(pixel: [u8; 3], turns: f32) -> [u8; 3] {
    let [red, green, blue] = pixel.map(f32::from);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = most - least;
    if range == 0.0 {
        return pixel;
    }
    let sixth = if most == red {
        (green - blue) / range
    } else if most == green {
        2.0 + (blue - red) / range
    } else {
        4.0 + (red - green) / range
    };
    // Never negative: the hue is −1 sixths at least, and the turn −3.
    let at = sixth + 6.0 * turns + 6.0;
    let sector = at as u32;
    let along = at - sector as f32;
    let (falling, rising) = (most - range * along, most - range * (1.0 - along));
    let [red, green, blue] = match sector % 6 {
        0 => [most, rising, least],
        1 => [falling, most, least],
        2 => [least, most, rising],
        3 => [least, falling, most],
        4 => [rising, least, most],
        _ => [most, least, falling],
    };
    // The reference stretches 0..1 to 0..255.999 and cuts off the fraction.
    [red, green, blue].map(|value| (value * (255.999 / 255.0)) as u8)
}

#[cfg(test)]
mod tests {
    use super::super::tests::one;
    use super::*;

    #[test]
    fn a_third_of_the_circle_brings_red_to_green_and_a_half_to_cyan() {
        assert_eq!(one([255, 0, 0], |p| hue(p, 1.0 / 3.0)), [0, 255, 0]);
        assert_eq!(one([255, 0, 0], |p| hue(p, -1.0 / 3.0)), [0, 0, 255]);
        assert_eq!(one([255, 0, 0], |p| hue(p, 0.5)), [0, 255, 255]);
        assert_eq!(one([255, 0, 0], |p| hue(p, -0.5)), [0, 255, 255]);
    }

    #[test]
    fn gray_has_no_hue_and_no_turn_leaves_colors_as_they_are() {
        assert_eq!(one([77, 77, 77], |p| hue(p, 0.3)), [77, 77, 77]);
        for color in [[255, 0, 1], [1, 255, 0], [3, 200, 254], [90, 91, 90], [0, 0, 0]] {
            let found = one(color, |p| hue(p, 0.0));
            let near = found.iter().zip(color).all(|(&a, b)| a.abs_diff(b) <= 1);
            assert!(near, "{color:?} became {found:?}");
        }
    }
}
