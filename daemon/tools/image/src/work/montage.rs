//! One picture of many, in rows.

use super::{
    decode::{self, Picture},
    encode::{Encoding, encode, flatten},
    transform::{fit, made, resize},
};
use crate::task::{Fit, LONGEST_SIDE, Made, Montage, Resize};
use image::{DynamicImage, GenericImage as _, Rgb, RgbImage};
use skynet_core::{Error, Result};

pub(crate) fn montage(
    pictures: impl ExactSizeIterator<Item = Result<Vec<u8>>>,
    wanted: &Montage,
) -> Result<(Made, Vec<u8>)> {
    let count = u32::try_from(pictures.len()).unwrap_or(u32::MAX);
    let columns = wanted.columns.clamp(1, count.max(1));
    let rows = count.div_ceil(columns);
    let length = |tiles: u32, tile: u32| {
        tiles.saturating_mul(tile.saturating_add(wanted.gap)).saturating_add(wanted.gap)
    };
    let (width, height) = (length(columns, wanted.tile_width), length(rows, wanted.tile_height));
    if width.max(height) > LONGEST_SIDE {
        return Err(Error::invalid_input(format!(
            "the montage would have {width} x {height} pixels, and no side may be longer than {LONGEST_SIDE}; take smaller tiles, or other `columns`"
        )));
    }
    decode::check_size(width, height)?;
    let mut canvas = RgbImage::from_pixel(width, height, Rgb(wanted.background));
    let tile = Resize {
        width: Some(wanted.tile_width),
        height: Some(wanted.tile_height),
        fit: Fit::Inside,
        enlarge: false,
    };
    for (index, bytes) in (0..count).zip(pictures) {
        let at = |err: Error| Error::new(err.kind, format!("picture {}: {}", index + 1, err.message));
        let picture = decode::decode(&bytes?, &|width, height| Ok(fit((width, height), tile)?.scaled));
        let picture = picture.map_err(at)?;
        let small = resize(picture.pixels, picture.size, tile, wanted.background).map_err(at)?;
        let small = flatten(&small, wanted.background);
        let (column, row) = (index % columns, index / columns);
        let place = |number: u32, tile: u32, side: u32| {
            wanted.gap + number * (tile + wanted.gap) + (tile - side.min(tile)) / 2
        };
        let x = place(column, wanted.tile_width, small.width());
        let y = place(row, wanted.tile_height, small.height());
        canvas.copy_from(&small, x, y).map_err(decode::damaged)?;
    }
    let encoding = Encoding {
        format: wanted.format,
        quality: wanted.quality,
        background: wanted.background,
        is_thorough: false,
    };
    let picture = Picture {
        size: (width, height),
        pixels: DynamicImage::from(canvas),
        format: None,
        color_profile: None,
        exif: None,
    };
    let bytes = encode(&picture, encoding, false)?;
    Ok((made(&picture, picture.size, encoding, &bytes), bytes))
}
