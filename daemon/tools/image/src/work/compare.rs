//! How two pictures differ, pixel by pixel.

use super::{
    decode::{self, Picture},
    encode::{Encoding, encode},
};
use crate::task::{Difference, Format};
use image::{DynamicImage, Rgba, RgbaImage};
use skynet_core::{Error, Result};

/// What differs is painted in this colour, over a pale copy of the first.
const PAINT: Rgba<u8> = Rgba([255, 0, 64, 255]);

/// The difference, and a PNG that shows where it is.
pub(crate) fn compare(
    first: &[u8],
    second: &[u8],
    is_painted: bool,
    tolerance: u8,
) -> Result<(Difference, Option<Vec<u8>>)> {
    let nth = |nth: &'static str| {
        move |err: Error| Error::new(err.kind, format!("the {nth} picture: {}", err.message))
    };
    let one = decode::decode_whole(first).map_err(nth("first"))?.pixels.into_rgba8();
    let other = decode::decode_whole(second).map_err(nth("second"))?.pixels.into_rgba8();
    let sizes = [one.dimensions().into(), other.dimensions().into()];
    if one.dimensions() != other.dimensions() {
        if is_painted {
            return Err(Error::invalid_input(format!(
                "the pictures have different sizes, {:?} and {:?}, so where they differ cannot be shown; resize one of them first",
                one.dimensions(),
                other.dimensions()
            )));
        }
        return Ok((of_sizes(sizes), None));
    }
    let mut painted = is_painted.then(|| pale(&one));
    let (mut differing, mut largest, mut squares) = (0_u64, 0_u8, 0_u64);
    let mut area: Option<[u32; 4]> = None;
    for ((x, y, left), right) in one.enumerate_pixels().zip(other.pixels()) {
        let apart = left.0.iter().zip(right.0).map(|(left, right)| left.abs_diff(right));
        let (most, sum) =
            apart.fold((0, 0), |(most, sum), by| (by.max(most), sum + u64::from(by) * u64::from(by)));
        squares += sum;
        largest = largest.max(most);
        if most <= tolerance {
            continue;
        }
        differing += 1;
        area = Some(area.map_or([x, y, x, y], |[west, north, east, south]| {
            [west.min(x), north.min(y), east.max(x), south.max(y)]
        }));
        if let Some(painted) = &mut painted {
            painted.put_pixel(x, y, PAINT);
        }
    }
    let pixels = u64::from(one.width()) * u64::from(one.height());
    let mean = squares as f64 / (pixels * 4) as f64;
    let difference = Difference {
        is_identical: largest == 0,
        differing_pixels: Some(differing),
        differing_share: Some(differing as f64 / pixels as f64),
        largest_difference: Some(largest),
        // ITU-R J.340, section 3: of the largest value that a channel has.
        psnr_db: (squares > 0).then(|| 10.0 * (255.0 * 255.0 / mean).log10()),
        differing_area: area
            .map(|[west, north, east, south]| [west, north, east - west + 1, south - north + 1]),
        ..of_sizes(sizes)
    };
    let painted = painted.map(write_png).transpose()?;
    Ok((difference, painted))
}

fn of_sizes([first_size, second_size]: [[u32; 2]; 2]) -> Difference {
    Difference {
        is_identical: false,
        first_size,
        second_size,
        differing_pixels: None,
        differing_share: None,
        largest_difference: None,
        psnr_db: None,
        differing_area: None,
    }
}

fn pale(pixels: &RgbaImage) -> RgbaImage {
    let mut pale = pixels.clone();
    for pixel in pale.pixels_mut() {
        for channel in pixel.0.iter_mut().take(3) {
            *channel = 255 - (255 - *channel) / 4;
        }
    }
    pale
}

fn write_png(pixels: RgbaImage) -> Result<Vec<u8>> {
    let picture = Picture {
        size: pixels.dimensions(),
        pixels: DynamicImage::from(pixels),
        format: None,
        color_profile: None,
        exif: None,
    };
    let encoding = Encoding { format: Format::Png, quality: 100, background: [255; 3], is_thorough: false };
    encode(&picture, encoding, false)
}
