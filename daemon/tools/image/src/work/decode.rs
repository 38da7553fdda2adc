//! Files to pixels.

use crate::task::{Format, LONGEST_SIDE, MOST_PIXELS};
use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, metadata::Orientation,
};
use jpeg_decoder::PixelFormat;
use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{ImageHrefResolver, Options, Size, Tree, fontdb::Database},
};
use skynet_core::{Error, Result};
use std::{io::Cursor, sync::Arc};

/// What a decoder may allocate besides the picture.
const MOST_DECODER_BYTES: u64 = 1 << 30;

/// A decoded picture, upright.
pub(crate) struct Picture {
    pub(crate) pixels: DynamicImage,
    /// Of the file; none for a drawing.
    pub(crate) format: Option<ImageFormat>,
    /// Pixels of the file, upright.
    pub(crate) size: (u32, u32),
    pub(crate) color_profile: Option<Vec<u8>>,
    /// A TIFF structure, whose orientation is that of `pixels`.
    pub(crate) exif: Option<Vec<u8>>,
}

impl Picture {
    /// The format to write it in again; what cannot be written becomes PNG.
    pub(crate) fn format_to_write(&self) -> Format {
        match self.format {
            Some(ImageFormat::Jpeg) => Format::Jpeg,
            Some(ImageFormat::WebP) => Format::Webp,
            Some(ImageFormat::Gif) => Format::Gif,
            Some(ImageFormat::Tiff) => Format::Tiff,
            _ => Format::Png,
        }
    }
}

/// The size that somebody wants of a picture of that size, as [`crate::task::Resize`] would make it.
pub(crate) type Wanted<'a> = &'a dyn Fn(u32, u32) -> Result<(u32, u32)>;

/// Decodes a picture: not smaller than `wanted` says, and smaller than it is where that is less work.
pub(crate) fn decode(bytes: &[u8], wanted: Wanted<'_>) -> Result<Picture> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => decode_jpeg(bytes, wanted),
        Ok(format) => decode_any(bytes, format),
        Err(_) if is_svg(bytes) => draw(bytes, wanted),
        Err(_) => Err(unknown()),
    }
}

/// Decodes all of it.
pub(crate) fn decode_whole(bytes: &[u8]) -> Result<Picture> {
    decode(bytes, &|width, height| Ok((width, height)))
}

fn unknown() -> Error {
    Error::invalid_input("this is no picture in JPEG, PNG, WebP, GIF, TIFF, BMP or SVG")
}

/// Refuses before anything is decoded.
pub(crate) fn check_size(width: u32, height: u32) -> Result<()> {
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(Error::invalid_input(format!(
            "{width} x {height} are more than {MOST_PIXELS} pixels; make a smaller one of it elsewhere first"
        )));
    }
    Ok(())
}

pub(crate) fn damaged(err: impl std::error::Error) -> Error {
    Error::invalid_input(format!("the picture is damaged or of an unusual kind: {err}"))
}

/// The discrete cosine transform of a JPEG gives an eighth, a quarter or a half of its size for a part of the work.
fn decode_jpeg(bytes: &[u8], wanted: Wanted<'_>) -> Result<Picture> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(usize::try_from(MOST_DECODER_BYTES).unwrap_or(usize::MAX));
    decoder.read_info().map_err(damaged)?;
    let info = decoder.info().ok_or_else(unknown)?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_size(width, height)?;
    if !matches!(info.pixel_format, PixelFormat::RGB24 | PixelFormat::L8) {
        // Of print, or with more than 8 bits: rare, and no other decoder here scales.
        return decode_any(bytes, ImageFormat::Jpeg);
    }
    let exif = decoder.exif_data().map(<[u8]>::to_vec);
    let orientation = orientation_of(exif.as_deref());
    let color_profile = decoder.icc_profile();
    let size = upright((width, height), orientation);
    let small = upright(wanted(size.0, size.1)?, orientation);
    let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
    let (width, height) = decoder.scale(side(small.0), side(small.1)).map_err(damaged)?;
    let pixels = decoder.decode().map_err(damaged)?;
    let (width, height) = (u32::from(width), u32::from(height));
    let pixels = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    let pixels = pixels.ok_or_else(|| Error::internal("a JPEG has other pixels than it says"))?;
    Ok(stand_up(pixels, Some(ImageFormat::Jpeg), size, color_profile, exif, orientation))
}

fn decode_any(bytes: &[u8], format: ImageFormat) -> Result<Picture> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    // What a file says besides may be damaged while the picture is whole.
    let color_profile = decoder.icc_profile().unwrap_or_default();
    let exif = decoder.exif_metadata().unwrap_or_default();
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let is_of_print = format == ImageFormat::Jpeg;
    let pixels = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let size = upright((width, height), orientation);
    // Its profile is for inks, the pixels are light by now.
    let color_profile = color_profile.filter(|_| !is_of_print);
    Ok(stand_up(pixels, Some(format), size, color_profile, exif, orientation))
}

fn stand_up(
    mut pixels: DynamicImage,
    format: Option<ImageFormat>,
    size: (u32, u32),
    color_profile: Option<Vec<u8>>,
    mut exif: Option<Vec<u8>>,
    orientation: Orientation,
) -> Picture {
    pixels.apply_orientation(orientation);
    if let Some(exif) = &mut exif {
        // What it was is known by now.
        let _ = Orientation::remove_from_exif_chunk(exif);
    }
    Picture { pixels, format, size, color_profile, exif }
}

/// How a camera was held.
pub(crate) fn orientation_of(exif: Option<&[u8]>) -> Orientation {
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

/// Width and height after the turn; also what they were before it.
pub(crate) fn upright((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    // 5 to 8 are those on a side.
    if orientation.to_exif() > 4 { (height, width) } else { (width, height) }
}

/// Whether it may be a drawing; usvg decides.
pub(crate) fn is_svg(bytes: &[u8]) -> bool {
    /// Of the beginning; a prologue is not longer.
    const HEAD_BYTES: usize = 4096;
    let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
    head.windows(4).any(|word| word == b"<svg")
}

/// Reads a drawing. What it names outside of itself does not exist.
pub(crate) fn read_svg(bytes: &[u8], fonts: Database) -> Result<Tree> {
    let options = Options {
        fontdb: Arc::new(fonts),
        image_href_resolver: ImageHrefResolver {
            resolve_string: Box::new(|_, _| None),
            ..ImageHrefResolver::default()
        },
        ..Options::default()
    };
    Tree::from_data(bytes, &options).map_err(damaged)
}

/// What a drawing means by `serif`, `sans-serif` and `monospace`, and by a font that is not there: the first that is.
const FAMILIES: [[&str; 4]; 3] = [
    ["Liberation Serif", "DejaVu Serif", "Noto Serif", "Times New Roman"],
    ["Liberation Sans", "DejaVu Sans", "Noto Sans", "Arial"],
    ["Liberation Mono", "DejaVu Sans Mono", "Noto Sans Mono", "Courier New"],
];

fn system_fonts() -> Database {
    let mut fonts = Database::new();
    for directory in skynet_parser::FONTS {
        fonts.load_fonts_dir(directory);
    }
    let known: Vec<String> =
        fonts.faces().filter_map(|face| face.families.first()).map(|(name, _)| name.clone()).collect();
    let [serif, sans, mono] = FAMILIES.map(|families| {
        let preferred = families.into_iter().find(|family| known.iter().any(|name| name == family));
        preferred.map(str::to_owned).or_else(|| known.first().cloned()).unwrap_or_default()
    });
    fonts.set_serif_family(serif);
    fonts.set_sans_serif_family(sans);
    fonts.set_monospace_family(mono);
    fonts
}

/// A drawing has no pixels before somebody says how many.
fn draw(bytes: &[u8], wanted: Wanted<'_>) -> Result<Picture> {
    let tree = read_svg(bytes, system_fonts())?;
    let size = size_of_svg(tree.size());
    let (width, height) = wanted(size.0, size.1)?;
    check_size(width, height)?;
    let mut canvas =
        Pixmap::new(width, height).ok_or_else(|| Error::invalid_input("the drawing has no size"))?;
    let scale = |side: u32, of: f32| side as f32 / of;
    let transform =
        Transform::from_scale(scale(width, tree.size().width()), scale(height, tree.size().height()));
    resvg::render(&tree, transform, &mut canvas.as_mut());
    let pixels: Vec<u8> = canvas
        .pixels()
        .iter()
        .flat_map(|pixel| {
            let pixel = pixel.demultiply();
            [pixel.red(), pixel.green(), pixel.blue(), pixel.alpha()]
        })
        .collect();
    let pixels = image::RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from);
    let pixels = pixels.ok_or_else(|| Error::internal("a drawing has other pixels than it says"))?;
    Ok(Picture { pixels, format: None, size, color_profile: None, exif: None })
}

/// In whole pixels, at least one.
pub(crate) fn size_of_svg(size: Size) -> (u32, u32) {
    let side = |side: f32| (side.round() as u32).clamp(1, LONGEST_SIDE);
    (side(size.width()), side(size.height()))
}
