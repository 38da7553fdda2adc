//! What a parser is asked to do with pictures, and what it answers. The descriptors of a task are those of the pictures,
//! in order, and last that of the file it writes, if it writes one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Larger pictures, in pixels, are not decoded: as RGBA they take 400 MB.
pub(crate) const MOST_PIXELS: u64 = 100_000_000;

/// The longest side of what is made.
pub(crate) const LONGEST_SIDE: u32 = 16_384;

/// A picture file may not be longer.
pub(crate) const MOST_INPUT_BYTES: u64 = 256 << 20;

/// A format that pictures are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Photographs; no transparency.
    #[serde(alias = "jpg")]
    Jpeg,
    /// Lossless.
    Png,
    /// Lossy below quality 100, then lossless.
    Webp,
    /// At most 256 colours.
    Gif,
    /// Lossless, for print and archives.
    #[serde(alias = "tif")]
    Tiff,
    /// The smallest, and the slowest to write.
    Avif,
}

impl Format {
    /// By the extension of a file name, without the dot.
    pub(crate) fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" => Self::Jpeg,
            "png" => Self::Png,
            "webp" => Self::Webp,
            "gif" => Self::Gif,
            "tif" | "tiff" => Self::Tiff,
            "avif" => Self::Avif,
            _ => return None,
        })
    }

    /// What a new file is called after its dot.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Gif => "gif",
            Self::Tiff => "tiff",
            Self::Avif => "avif",
        }
    }
}

/// How a picture is made to fit a size that has another shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fit {
    /// All of it, as large as fits; one side may come out smaller.
    #[default]
    Inside,
    /// Exactly the size; what does not fit is cut off at both ends.
    Cover,
    /// Exactly the size, with bars of the background colour.
    Contain,
    /// Exactly the size, distorted.
    Fill,
}

/// A new size.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Resize {
    /// At least one of both.
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
    pub(crate) fit: Fit,
    pub(crate) enlarge: bool,
}

/// A part of a picture.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Area {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A quarter turn, clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Turn {
    #[default]
    None,
    Right,
    Half,
    Left,
}

/// A mirror image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Flip {
    #[default]
    None,
    /// Left becomes right.
    Horizontal,
    /// Top becomes bottom.
    Vertical,
}

/// Red, green, blue.
pub(crate) type Color = [u8; 3];

/// One picture made of another, in the order of the members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transform {
    pub(crate) crop: Option<Area>,
    pub(crate) turn: Turn,
    pub(crate) flip: Flip,
    pub(crate) resize: Option<Resize>,
    pub(crate) background: Color,
    /// That of the picture, where it can be written, unless something else is wanted.
    pub(crate) format: Option<Format>,
    pub(crate) quality: u8,
    pub(crate) keeps_metadata: bool,
}

impl Default for Transform {
    fn default() -> Self {
        Self {
            crop: None,
            turn: Turn::None,
            flip: Flip::None,
            resize: None,
            background: [255; 3],
            format: None,
            quality: 80,
            keeps_metadata: false,
        }
    }
}

/// One picture of many, in rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Montage {
    pub(crate) columns: u32,
    pub(crate) tile_width: u32,
    pub(crate) tile_height: u32,
    pub(crate) gap: u32,
    pub(crate) background: Color,
    pub(crate) format: Format,
    pub(crate) quality: u8,
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Says what a picture is: a [`Description`].
    Describe,
    /// Makes a picture of a picture: a [`Made`].
    Transform(Transform),
    /// Makes a JPEG of at most that many bytes, no side longer than that: a [`Made`].
    Show {
        /// In pixels.
        longest_side: u32,
        /// Of the file.
        most_bytes: u64,
    },
    /// Writes the same picture with fewer bytes: a [`Made`], of no bytes if there is no shorter way. JPEG and WebP get that
    /// quality; others lose nothing.
    Optimize {
        /// From 1 to 100.
        quality: u8,
    },
    /// Writes the same file without what it says besides the picture: a [`Made`].
    Strip,
    /// Makes one picture of all: a [`Made`].
    Montage(Montage),
    /// Says how two pictures differ, a [`Difference`], and paints where, if it was given a file for that.
    Compare {
        /// Channels that differ by no more are the same.
        tolerance: u8,
    },
}

impl Task {
    /// Whether it makes pixels of what may be a drawing with text.
    pub(crate) const fn renders_text(&self) -> bool {
        matches!(self, Self::Transform(_) | Self::Show { .. } | Self::Montage(_) | Self::Compare { .. })
    }
}

/// What a picture is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Description {
    /// Such as `jpeg`; `svg` for a drawing.
    pub(crate) format: String,
    /// Pixels, as shown: after the turn that a camera noted.
    pub(crate) width: u32,
    /// Pixels, as shown.
    pub(crate) height: u32,
    /// Such as `rgb8` or `rgba16`; of a drawing `vector`.
    pub(crate) color: String,
    /// Whether it has an alpha channel.
    pub(crate) has_alpha: bool,
    /// How a camera was held: 1 is upright, others are of the EXIF tag (EXIF 2.32, 4.6.4 A).
    pub(crate) orientation: u8,
    /// Whether it moves; tools work on its first frame.
    pub(crate) is_animated: bool,
    /// Bytes of its colour profile; 0 if it has none, which means sRGB.
    pub(crate) color_profile_bytes: u64,
    /// What else the file says, by name of the EXIF tag: camera, time, place.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Whether it tells where it was taken.
    pub(crate) has_location: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// `None` for the same file.
    pub(crate) format: Option<Format>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Those of the picture it was made of.
    pub(crate) old_width: u32,
    pub(crate) old_height: u32,
    /// Of the file; 0 if nothing was written.
    pub(crate) bytes: u64,
}

/// How two pictures differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Difference {
    /// Whether both have the same size and every pixel the same colour.
    pub(crate) is_identical: bool,
    /// Width and height of the first.
    pub(crate) first_size: [u32; 2],
    /// Width and height of the second.
    pub(crate) second_size: [u32; 2],
    /// Pixels that differ by more than `tolerance` in a channel; like what follows, absent if the sizes differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) differing_pixels: Option<u64>,
    /// The same as part of all, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) differing_share: Option<f64>,
    /// The largest difference of a channel, from 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) largest_difference: Option<u8>,
    /// Peak signal-to-noise ratio in decibels; above 40 nobody sees it. Absent if nothing differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) psnr_db: Option<f64>,
    /// The smallest area with all that differs: x, y, width, height; absent if nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) differing_area: Option<[u32; 4]>,
}
