//! One picture made of another.

use super::{
    decode::{self, Picture, check_size},
    encode::{Encoding, encode},
};
use crate::task::{Area, Color, Fit, Flip, LONGEST_SIDE, Made, Resize, Transform, Turn};
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, GenericImage as _, Rgba};
use skynet_core::{Error, Result};

pub(crate) fn transform(bytes: &[u8], wanted: &Transform) -> Result<(Made, Vec<u8>)> {
    let mut picture = decode::decode(bytes, &|width, height| enough(wanted, (width, height)))?;
    let old = picture.size;
    if let Some(area) = wanted.crop {
        check_inside(area, old)?;
        picture.pixels = picture.pixels.crop_imm(area.x, area.y, area.width, area.height);
    }
    picture.pixels = match wanted.turn {
        Turn::None => picture.pixels,
        Turn::Right => picture.pixels.rotate90(),
        Turn::Half => picture.pixels.rotate180(),
        Turn::Left => picture.pixels.rotate270(),
    };
    picture.pixels = match wanted.flip {
        Flip::None => picture.pixels,
        Flip::Horizontal => picture.pixels.fliph(),
        Flip::Vertical => picture.pixels.flipv(),
    };
    if let Some(size) = wanted.resize {
        // A JPEG may have been decoded smaller than it is, so its own size counts.
        let from = upright_of(wanted, old);
        picture.pixels = resize(picture.pixels, from, size, wanted.background)?;
    }
    let encoding = Encoding {
        format: wanted.format.unwrap_or_else(|| picture.format_to_write()),
        quality: wanted.quality,
        background: wanted.background,
        is_thorough: false,
    };
    let bytes = encode(&picture, encoding, wanted.keeps_metadata)?;
    Ok((made(&picture, old, encoding, &bytes), bytes))
}

/// A JPEG of limited size: less quality first, then fewer pixels.
pub(crate) fn show(bytes: &[u8], longest_side: u32, most_bytes: u64) -> Result<(Made, Vec<u8>)> {
    const QUALITIES: [u8; 3] = [85, 70, 50];
    /// Sides become so much shorter at a time; 1 pixel is reached in fewer steps.
    const SHORTER: f64 = 0.75;
    const MOST_STEPS: usize = 40;
    let inside = |side| Resize { width: Some(side), height: Some(side), fit: Fit::Inside, enlarge: false };
    let mut picture =
        decode::decode(bytes, &|width, height| Ok(fit((width, height), inside(longest_side))?.scaled))?;
    let old = picture.size;
    // What it says besides takes bytes, and without its profile colours are near enough for a look.
    picture.color_profile = None;
    let mut side = longest_side.min(old.0.max(old.1));
    for _ in 0..MOST_STEPS {
        let from = (picture.pixels.width(), picture.pixels.height());
        picture.pixels = resize(picture.pixels, from, inside(side), [255; 3])?;
        for quality in QUALITIES {
            let encoding = Encoding {
                format: crate::task::Format::Jpeg,
                quality,
                background: [255; 3],
                is_thorough: false,
            };
            let bytes = encode(&picture, encoding, false)?;
            if bytes.len() as u64 <= most_bytes {
                return Ok((made(&picture, old, encoding, &bytes), bytes));
            }
        }
        side = (f64::from(side) * SHORTER).ceil().max(1.0) as u32;
    }
    Err(Error::invalid_input(format!("no picture of {most_bytes} bytes can be made of it")))
}

pub(crate) fn made(picture: &Picture, old: (u32, u32), encoding: Encoding, bytes: &[u8]) -> Made {
    Made {
        format: Some(encoding.format),
        width: picture.pixels.width(),
        height: picture.pixels.height(),
        old_width: old.0,
        old_height: old.1,
        bytes: bytes.len() as u64,
    }
}

/// How many pixels a decoder must at least give.
fn enough(wanted: &Transform, size: (u32, u32)) -> Result<(u32, u32)> {
    match (wanted.crop, wanted.resize) {
        (None, Some(resize)) => {
            let (width, height) = fit(upright_of(wanted, size), resize)?.scaled;
            Ok(upright_of(wanted, (width, height)))
        }
        _ => Ok(size),
    }
}

/// After the turn; a second time, what it was before.
fn upright_of(wanted: &Transform, (width, height): (u32, u32)) -> (u32, u32) {
    let (width, height) = wanted.crop.map_or((width, height), |area| (area.width, area.height));
    match wanted.turn {
        Turn::None | Turn::Half => (width, height),
        Turn::Left | Turn::Right => (height, width),
    }
}

fn check_inside(area: Area, (width, height): (u32, u32)) -> Result<()> {
    let ends = |start: u32, length: u32, side: u32| {
        length > 0 && start.checked_add(length).is_some_and(|end| end <= side)
    };
    if ends(area.x, area.width, width) && ends(area.y, area.height, height) {
        return Ok(());
    }
    let Area { x, y, width: wide, height: high } = area;
    Err(Error::invalid_input(format!(
        "{wide} x {high} at {x}, {y} is not inside of the picture, which has {width} x {height} pixels"
    )))
}

/// A size that is wanted, and the one that all of the picture gets on the way.
pub(crate) struct Fitted {
    pub(crate) scaled: (u32, u32),
    result: (u32, u32),
}

pub(crate) fn fit(from: (u32, u32), resize: Resize) -> Result<Fitted> {
    let (width, height) = (f64::from(from.0), f64::from(from.1));
    let side = |side: f64| side.round().max(1.0).min(f64::from(u32::MAX)) as u32;
    let scaled = |scale: f64| (side(width * scale), side(height * scale));
    let ratios = [
        resize.width.map(|wide| f64::from(wide) / width),
        resize.height.map(|high| f64::from(high) / height),
    ];
    let limit = if resize.enlarge { f64::INFINITY } else { 1.0 };
    let fitted = match (resize.width.zip(resize.height), resize.fit) {
        // With one side there is nothing to fit.
        (None, _) | (_, Fit::Inside) => {
            let scale = ratios.into_iter().flatten().fold(f64::INFINITY, f64::min).min(limit);
            Fitted { scaled: scaled(scale), result: scaled(scale) }
        }
        (Some(result), Fit::Contain) => {
            let scale = ratios.into_iter().flatten().fold(f64::INFINITY, f64::min).min(limit);
            Fitted { scaled: scaled(scale), result }
        }
        (Some(result), Fit::Cover) => {
            let scale = ratios.into_iter().flatten().fold(0.0, f64::max);
            if scale > limit {
                return Err(Error::invalid_input(format!(
                    "the picture, of {} x {}, is too small to cover {} x {}; set `enlarge`",
                    from.0, from.1, result.0, result.1
                )));
            }
            let (wide, high) = scaled(scale);
            Fitted { scaled: (wide.max(result.0), high.max(result.1)), result }
        }
        (Some(result), Fit::Fill) => Fitted { scaled: result, result },
    };
    for (wide, high) in [fitted.scaled, fitted.result] {
        check_size(wide, high)?;
    }
    if fitted.result.0.max(fitted.result.1) > LONGEST_SIDE {
        return Err(Error::invalid_input(format!("no side may be longer than {LONGEST_SIDE} pixels")));
    }
    Ok(fitted)
}

/// Makes pixels of what was decoded, of a picture of size `from`.
pub(crate) fn resize(
    pixels: DynamicImage,
    from: (u32, u32),
    resize: Resize,
    background: Color,
) -> Result<DynamicImage> {
    let Fitted { scaled, result } = fit(from, resize)?;
    let small = scale(pixels, scaled)?;
    if scaled == result {
        return Ok(small);
    }
    if resize.fit == Fit::Cover {
        let (x, y) = ((scaled.0 - result.0) / 2, (scaled.1 - result.1) / 2);
        return Ok(small.crop_imm(x, y, result.0, result.1));
    }
    let [red, green, blue] = background;
    let mut canvas = DynamicImage::new(result.0, result.1, small.color());
    let bar = Rgba([red, green, blue, 255]);
    for y in 0..result.1 {
        for x in 0..result.0 {
            canvas.put_pixel(x, y, bar);
        }
    }
    let (x, y) = ((result.0 - scaled.0) / 2, (result.1 - scaled.1) / 2);
    canvas.copy_from(&small, x, y).map_err(decode::damaged)?;
    Ok(canvas)
}

/// Lanczos with three lobes, in linear time and with the processor's vectors.
fn scale(pixels: DynamicImage, (width, height): (u32, u32)) -> Result<DynamicImage> {
    if (pixels.width(), pixels.height()) == (width, height) {
        return Ok(pixels);
    }
    let mut small = DynamicImage::new(width, height, pixels.color());
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new()
        .resize(&pixels, &mut small, &options)
        .map_err(|err| Error::internal("a picture cannot be scaled").with_source(err))?;
    Ok(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(
        from: (u32, u32),
        size: (Option<u32>, Option<u32>),
        fits: Fit,
        enlarge: bool,
    ) -> Option<[(u32, u32); 2]> {
        let resize = Resize { width: size.0, height: size.1, fit: fits, enlarge };
        fit(from, resize).ok().map(|fitted| [fitted.scaled, fitted.result])
    }

    #[test]
    fn sizes() {
        let both = (Some(100), Some(100));
        for (from, size, fits, enlarge, expected) in [
            ((400, 200), both, Fit::Inside, true, Some([(100, 50), (100, 50)])),
            ((400, 200), both, Fit::Contain, true, Some([(100, 50), (100, 100)])),
            ((400, 200), both, Fit::Cover, true, Some([(200, 100), (100, 100)])),
            ((400, 200), both, Fit::Fill, true, Some([(100, 100), (100, 100)])),
            ((400, 200), (Some(100), None), Fit::Cover, true, Some([(100, 50), (100, 50)])),
            ((400, 200), (None, Some(400)), Fit::Inside, true, Some([(800, 400), (800, 400)])),
            ((400, 200), (None, Some(400)), Fit::Inside, false, Some([(400, 200), (400, 200)])),
            ((40, 20), both, Fit::Contain, false, Some([(40, 20), (100, 100)])),
            ((40, 20), both, Fit::Cover, false, None),
            ((10_000, 1), (Some(100), None), Fit::Inside, true, Some([(100, 1), (100, 1)])),
            ((1, 10_000), (Some(100), None), Fit::Inside, true, None),
        ] {
            assert_eq!(fitted(from, size, fits, enlarge), expected, "{from:?} {size:?} {fits:?} {enlarge}");
        }
    }
}
