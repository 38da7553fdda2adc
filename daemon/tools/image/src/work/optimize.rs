//! The same picture in fewer bytes, or without what its file says besides.

use super::{
    decode::{self, damaged, orientation_of},
    encode::{Encoding, encode},
    transform,
};
use crate::task::{Format, Made};
use image::{ImageDecoder as _, ImageFormat, ImageReader, metadata::Orientation};
use img_parts::{
    Bytes, DynImage, ImageEXIF as _, ImageICC as _,
    jpeg::{JpegSegment, markers},
    webp,
};
use skynet_core::{Error, Result};
use std::{io::Cursor, time::Duration};

/// Trying ways to write a PNG ends after that.
const PNG_PATIENCE: Duration = Duration::from_secs(20);

/// oxipng's level, of 0 to 6: more takes much longer for little.
const PNG_LEVEL: u8 = 3;

/// Of a PNG: text, times and EXIF (PNG 3, section 11.3), and provenance (C2PA).
const PNG_METADATA: [[u8; 4]; 6] = [*b"tEXt", *b"zTXt", *b"iTXt", *b"tIME", *b"eXIf", *b"caBX"];

/// What begins the one segment of a program that says how colours are meant (ITU-T T.872, section 6.5.3), and the head of a
/// JFIF file, up to the size of its preview (ITU-T T.871, section 10.1).
const ADOBE: &[u8] = b"Adobe";
const JFIF: &[u8] = b"JFIF\0";
const JFIF_HEAD: usize = 12;

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
            // The colour profile is put back below.
            let kept = std::mem::take(jpeg.segments_mut()).into_iter().filter_map(plain);
            *jpeg.segments_mut() = kept.collect();
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

/// A segment of the picture itself, without what cameras and programs keep in theirs: positions, pictures beside the picture,
/// films behind it.
fn plain(segment: JpegSegment) -> Option<JpegSegment> {
    let (marker, contents) = (segment.marker(), segment.contents());
    match marker {
        markers::APP0 if contents.starts_with(JFIF) => {
            let mut head = contents.get(..JFIF_HEAD)?.to_vec();
            // A preview of no size.
            head.extend([0, 0]);
            Some(JpegSegment::new_with_contents(marker, head.into()))
        }
        markers::APP14 if contents.starts_with(ADOBE) => Some(segment),
        _ if is_note(marker) => None,
        markers::SOS => {
            let whole = segment.clone().encoder().bytes();
            let scans = whole.get(segment.len()..).map(scans_of).unwrap_or_default();
            Some(JpegSegment::new_with_entropy(marker, contents.clone(), scans.into()))
        }
        _ => Some(segment),
    }
}

fn is_note(marker: u8) -> bool {
    (markers::APP0..=markers::APP15).contains(&marker) || marker == markers::COM
}

/// All that is drawn: scans and what lies between them, up to the end of the picture (ITU-T T.81, annex B.1.1).
fn scans_of(bytes: &[u8]) -> Vec<u8> {
    let mut scans = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let (0xff, [marker, behind @ ..]) = (*first, after) else {
            scans.push(*first);
            rest = after;
            continue;
        };
        match *marker {
            // A filling byte.
            0xff => rest = after,
            markers::EOI => {
                scans.extend([0xff, markers::EOI]);
                break;
            }
            // A byte of the picture, or a place to begin anew: nothing belongs to it.
            0 | 1 | 0xd0..=0xd8 => {
                scans.extend([0xff, *marker]);
                rest = behind;
            }
            _ => {
                let length =
                    behind.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
                let (segment, next) = behind.split_at(length.min(behind.len()));
                if !is_note(*marker) {
                    scans.extend([0xff, *marker]);
                    scans.extend(segment);
                }
                rest = next;
            }
        }
    }
    scans
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
