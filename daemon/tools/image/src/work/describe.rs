//! What a picture is, without decoding it.

use super::decode::{check_size, damaged, is_svg, orientation_of, read_svg, size_of_svg, upright};
use crate::task::Description;
use image::{
    AnimationDecoder as _, ColorType, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
};
use resvg::usvg::fontdb::Database;
use skynet_core::{Error, Result};
use std::{collections::BTreeMap, io::Cursor};

/// What a file says besides is told up to so many tags, each up to so many bytes.
const MOST_TAGS: usize = 100;
const LONGEST_VALUE: usize = 200;

pub(crate) fn describe(bytes: &[u8]) -> Result<Description> {
    let format = match image::guess_format(bytes) {
        Ok(format) => format,
        Err(_) if is_svg(bytes) => return describe_svg(bytes),
        Err(_) => {
            return Err(Error::invalid_input("this is no picture in JPEG, PNG, WebP, GIF, TIFF, BMP or SVG"));
        }
    };
    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    // A size that no tool takes is told all the same.
    let is_animated = check_size(width, height).is_ok() && is_animated(bytes, format);
    let exif = decoder.exif_metadata().unwrap_or_default();
    let orientation = orientation_of(exif.as_deref());
    let (width, height) = upright((width, height), orientation);
    let (metadata, has_location) = exif.map(read_exif).unwrap_or_default();
    Ok(Description {
        format: format!("{format:?}").to_ascii_lowercase(),
        width,
        height,
        color: name_color(decoder.original_color_type(), decoder.color_type()),
        has_alpha: decoder.color_type().has_alpha(),
        orientation: orientation.to_exif(),
        is_animated,
        color_profile_bytes: decoder.icc_profile().unwrap_or_default().map_or(0, |icc| icc.len() as u64),
        metadata,
        has_location,
    })
}

fn name_color(original: ExtendedColorType, decoded: ColorType) -> String {
    match original {
        ExtendedColorType::Unknown(bits) => format!("{decoded:?} from {bits} bits"),
        named => format!("{named:?}"),
    }
    .to_ascii_lowercase()
}

/// Whether there is a second frame.
fn is_animated(bytes: &[u8], format: ImageFormat) -> bool {
    let bytes = Cursor::new(bytes);
    match format {
        ImageFormat::Gif => {
            GifDecoder::new(bytes).is_ok_and(|decoder| decoder.into_frames().nth(1).is_some())
        }
        ImageFormat::WebP => WebPDecoder::new(bytes).is_ok_and(|decoder| decoder.has_animation()),
        ImageFormat::Png => PngDecoder::new(bytes).is_ok_and(|decoder| decoder.is_apng().unwrap_or(false)),
        _ => false,
    }
}

/// The tags, and whether some of them are of the Global Positioning System.
fn read_exif(exif: Vec<u8>) -> (BTreeMap<String, String>, bool) {
    let mut reader = exif::Reader::new();
    reader.continue_on_error(true);
    let read = reader.read_raw(exif).or_else(|err| err.distill_partial_result(|_| {}));
    let Ok(read) = read else { return Default::default() };
    let mut has_location = false;
    let mut metadata = BTreeMap::new();
    for field in read.fields().filter(|field| field.ifd_num == exif::In::PRIMARY).take(MOST_TAGS) {
        has_location |= field.tag.context() == exif::Context::Gps;
        let mut value = field.display_value().with_unit(&read).to_string();
        if value.len() > LONGEST_VALUE {
            value.truncate(value.floor_char_boundary(LONGEST_VALUE));
            value.push_str("...");
        }
        metadata.insert(field.tag.to_string(), value);
    }
    (metadata, has_location)
}

fn describe_svg(bytes: &[u8]) -> Result<Description> {
    let tree = read_svg(bytes, Database::new())?;
    let (width, height) = size_of_svg(tree.size());
    Ok(Description {
        format: "svg".into(),
        width,
        height,
        color: "vector".into(),
        has_alpha: true,
        orientation: 1,
        is_animated: false,
        color_profile_bytes: 0,
        metadata: BTreeMap::new(),
        has_location: false,
    })
}
