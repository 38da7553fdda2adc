//! Pixels to files.

use super::decode::{Picture, check_size};
use crate::task::{Color, Format};
use image::{
    DynamicImage, ExtendedColorType, Rgb, RgbImage,
    codecs::{
        avif::AvifEncoder,
        gif::GifEncoder,
        png::{CompressionType, FilterType, PngEncoder},
        tiff::TiffEncoder,
    },
};
use img_parts::{Bytes, DynImage, ImageEXIF as _, ImageICC as _};
use jpeg_encoder::{ColorType, SamplingFactor};
use skynet_core::{Error, Result};
use std::io::Cursor;

/// From 1, the smallest, to 10, the fastest; those in between are what AVIF is written with in practice.
const AVIF_SPEED: u8 = 7;

/// From this quality on, JPEG keeps colours as sharp as brightness.
const FULL_COLOR_QUALITY: u8 = 90;

/// How a picture is written.
#[derive(Clone, Copy)]
pub(crate) struct Encoding {
    pub(crate) format: Format,
    /// From 1 to 100, where it means something.
    pub(crate) quality: u8,
    /// What shines through where the format has no transparency.
    pub(crate) background: Color,
    /// Whether time is spent on bytes.
    pub(crate) is_thorough: bool,
}

/// Writes it, with its colour profile, and with what the file said besides if that is wanted.
pub(crate) fn encode(picture: &Picture, encoding: Encoding, keeps_metadata: bool) -> Result<Vec<u8>> {
    let pixels = &picture.pixels;
    check_size(pixels.width(), pixels.height())?;
    let bytes = match encoding.format {
        Format::Jpeg => jpeg(pixels, encoding)?,
        Format::Png => png(pixels)?,
        Format::Webp => webp(pixels, encoding.quality)?,
        Format::Gif => {
            let mut bytes = Vec::new();
            let colors = pixels.to_rgba8();
            GifEncoder::new(&mut bytes)
                .encode(&colors, colors.width(), colors.height(), ExtendedColorType::Rgba8)
                .map_err(unwritten)?;
            bytes
        }
        Format::Tiff => {
            let mut bytes = Cursor::new(Vec::new());
            pixels.write_with_encoder(TiffEncoder::new(&mut bytes)).map_err(unwritten)?;
            bytes.into_inner()
        }
        Format::Avif => {
            let mut bytes = Vec::new();
            let encoder = AvifEncoder::new_with_speed_quality(&mut bytes, AVIF_SPEED, encoding.quality);
            let colors = if pixels.color().has_alpha() {
                DynamicImage::from(pixels.to_rgba8())
            } else {
                DynamicImage::from(pixels.to_rgb8())
            };
            colors.write_with_encoder(encoder).map_err(unwritten)?;
            bytes
        }
    };
    let exif = picture.exif.as_ref().filter(|_| keeps_metadata);
    Ok(label(bytes, picture.color_profile.as_ref(), exif))
}

/// Adds what belongs to a picture besides its pixels, where the format has a place for it.
fn label(bytes: Vec<u8>, color_profile: Option<&Vec<u8>>, exif: Option<&Vec<u8>>) -> Vec<u8> {
    if color_profile.is_none() && exif.is_none() {
        return bytes;
    }
    let bytes = Bytes::from(bytes);
    let Ok(Some(mut parts)) = DynImage::from_bytes(bytes.clone()) else { return bytes.into() };
    parts.set_icc_profile(color_profile.map(|profile| profile.clone().into()));
    parts.set_exif(exif.map(|exif| exif.clone().into()));
    parts.encoder().bytes().into()
}

fn jpeg(pixels: &DynamicImage, encoding: Encoding) -> Result<Vec<u8>> {
    let side = |side: u32| {
        u16::try_from(side).map_err(|_| Error::invalid_input("a JPEG has sides of at most 65,535 pixels"))
    };
    let (width, height) = (side(pixels.width())?, side(pixels.height())?);
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, encoding.quality);
    encoder.set_sampling_factor(if encoding.quality >= FULL_COLOR_QUALITY {
        SamplingFactor::F_1_1
    } else {
        SamplingFactor::F_2_2
    });
    encoder.set_progressive(encoding.is_thorough);
    encoder.set_optimized_huffman_tables(encoding.is_thorough);
    let written = match pixels {
        DynamicImage::ImageLuma8(gray) => encoder.encode(gray, width, height, ColorType::Luma),
        DynamicImage::ImageRgb8(colors) => encoder.encode(colors, width, height, ColorType::Rgb),
        other => encoder.encode(&flatten(other, encoding.background), width, height, ColorType::Rgb),
    };
    written.map_err(unwritten)?;
    Ok(bytes)
}

fn png(pixels: &DynamicImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive);
    let written = match pixels {
        // PNG has no floating point (PNG 3, section 11.2.1).
        DynamicImage::ImageRgb32F(_) => DynamicImage::from(pixels.to_rgb16()).write_with_encoder(encoder),
        DynamicImage::ImageRgba32F(_) => DynamicImage::from(pixels.to_rgba16()).write_with_encoder(encoder),
        _ => pixels.write_with_encoder(encoder),
    };
    written.map_err(unwritten)?;
    Ok(bytes)
}

fn webp(pixels: &DynamicImage, quality: u8) -> Result<Vec<u8>> {
    /// `WEBP_MAX_DIMENSION` of webp/encode.h.
    const LONGEST: u32 = 16_383;
    let (width, height) = (pixels.width(), pixels.height());
    if width.max(height) > LONGEST {
        return Err(Error::invalid_input(format!("a WebP has sides of at most {LONGEST} pixels")));
    }
    let (alpha, opaque);
    let encoder = if pixels.color().has_alpha() {
        alpha = pixels.to_rgba8();
        webp::Encoder::from_rgba(&alpha, width, height)
    } else {
        opaque = pixels.to_rgb8();
        webp::Encoder::from_rgb(&opaque, width, height)
    };
    encoder
        .encode_simple(quality >= 100, f32::from(quality))
        .map(|bytes| bytes.to_vec())
        .map_err(|err| Error::internal(format!("WebP cannot be written: {err:?}")))
}

/// As it looks on a background of that colour.
pub(crate) fn flatten(pixels: &DynamicImage, background: Color) -> RgbImage {
    if !pixels.color().has_alpha() {
        return pixels.to_rgb8();
    }
    let colors = pixels.to_rgba8();
    RgbImage::from_fn(colors.width(), colors.height(), |x, y| {
        let [red, green, blue, alpha] = colors.get_pixel(x, y).0;
        let [behind_red, behind_green, behind_blue] = background;
        let blend = |front: u8, behind: u8| {
            let (front, behind, alpha) = (u32::from(front), u32::from(behind), u32::from(alpha));
            u8::try_from((front * alpha + behind * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
        };
        Rgb([blend(red, behind_red), blend(green, behind_green), blend(blue, behind_blue)])
    })
}

fn unwritten(err: impl std::error::Error) -> Error {
    Error::invalid_input(format!("the picture cannot be written in this format: {err}"))
}
