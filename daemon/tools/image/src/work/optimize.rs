//! The same picture in fewer bytes, or without what its file says besides.

use super::{
    decode::{self, damaged, orientation_of},
    encode::{Encoding, encode},
    transform,
};
use crate::task::{Format, Made};
use image::{ImageDecoder as _, ImageFormat, ImageReader, metadata::Orientation};
use img_parts::{Bytes, DynImage, ImageEXIF as _, ImageICC as _, jpeg::markers, webp};
use skynet_core::{Error, Result};
use std::{io::Cursor, time::Duration};

/// Trying ways to write a PNG ends after that.
const PNG_PATIENCE: Duration = Duration::from_secs(20);

/// oxipng's level, of 0 to 6: more takes much longer for little.
const PNG_LEVEL: u8 = 3;

/// Of a PNG: text, times and EXIF (PNG 3, section 11.3), and provenance (C2PA).
const PNG_METADATA: [[u8; 4]; 6] = [*b"tEXt", *b"zTXt", *b"iTXt", *b"tIME", *b"eXIf", *b"caBX"];

/// Of a JPEG: EXIF and XMP; pictures beside the picture (CIPA DC-007) and colour profiles; provenance (C2PA); and what
/// Photoshop notes for press agencies (IPTC).
const METADATA_SEGMENTS: [u8; 4] = [markers::APP1, markers::APP2, 0xeb, 0xed];

pub(crate) fn optimize(bytes: &[u8], quality: u8) -> Result<(Made, Vec<u8>)> {
    let (made, smaller) = match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => {
            let (width, height) = size(bytes, ImageFormat::Png)?;
            decode::check_size(width, height)?;
            let options =
                oxipng::Options { timeout: Some(PNG_PATIENCE), ..oxipng::Options::from_preset(PNG_LEVEL) };
            let smaller = oxipng::optimize_from_memory(bytes, &options).map_err(damaged)?;
            (same(width, height, Some(Format::Png), &smaller), smaller)
        }
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::WebP)) => {
            let picture = decode::decode_whole(bytes)?;
            let format = if format == ImageFormat::Jpeg { Format::Jpeg } else { Format::Webp };
            let encoding = Encoding { format, quality, background: [255; 3], is_thorough: true };
            let smaller = encode(&picture, encoding, true)?;
            (transform::made(&picture, picture.size, encoding, &smaller), smaller)
        }
        Ok(_) | Err(_) => {
            return Err(Error::invalid_input(
                "only JPEG, PNG and WebP can be optimized; `image_convert` makes one of those of others",
            ));
        }
    };
    if smaller.len() < bytes.len() {
        Ok((made, smaller))
    } else {
        Ok((Made { bytes: 0, ..made }, Vec::new()))
    }
}

/// Pixels and colour profile stay as they are, byte for byte, and so does how it is held.
pub(crate) fn strip(bytes: Vec<u8>) -> Result<(Made, Vec<u8>)> {
    let unfit = || {
        Error::invalid_input(
            "only of JPEG, PNG and WebP; for others, `image_convert` writes a new file without",
        )
    };
    let format = image::guess_format(&bytes).map_err(|_| unfit())?;
    let (width, height) = size(&bytes, format)?;
    let bytes = Bytes::from(bytes);
    let mut parts = DynImage::from_bytes(bytes).map_err(damaged)?.ok_or_else(unfit)?;
    let orientation = orientation_of(parts.exif().as_deref());
    let color_profile = parts.icc_profile();
    match &mut parts {
        DynImage::Jpeg(jpeg) => {
            // APP14 says how colours are meant, and stays; the colour profile is put back below.
            METADATA_SEGMENTS.into_iter().for_each(|marker| jpeg.remove_segments_by_marker(marker));
            jpeg.remove_segments_by_marker(markers::COM);
        }
        DynImage::Png(png) => {
            PNG_METADATA.into_iter().for_each(|kind| png.remove_chunks_by_type(kind));
        }
        DynImage::WebP(webp) => {
            webp.remove_chunks_by_id(webp::CHUNK_EXIF);
            webp.remove_chunks_by_id(webp::CHUNK_XMP);
        }
    }
    parts.set_icc_profile(color_profile);
    parts.set_exif((orientation != Orientation::NoTransforms).then(|| exif_of(orientation)));
    let written: Vec<u8> = parts.encoder().bytes().into();
    Ok((same(width, height, None, &written), written))
}

/// Nothing but how a picture is held: a TIFF structure with one tag (TIFF 6.0, section 2; EXIF 2.32, 4.6.4 A).
fn exif_of(orientation: Orientation) -> Bytes {
    let [tag, kind] = [0x0112_u16, 3].map(u16::to_le_bytes);
    let mut exif = b"II\x2a\x00\x08\x00\x00\x00\x01\x00".to_vec();
    exif.extend([tag, kind].concat());
    exif.extend(1_u32.to_le_bytes());
    exif.extend([orientation.to_exif(), 0, 0, 0, 0, 0, 0, 0]);
    exif.into()
}

fn size(bytes: &[u8], format: ImageFormat) -> Result<(u32, u32)> {
    let decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(damaged)?;
    Ok(decoder.dimensions())
}

fn same(width: u32, height: u32, format: Option<Format>, bytes: &[u8]) -> Made {
    Made { format, width, height, old_width: width, old_height: height, bytes: bytes.len() as u64 }
}
