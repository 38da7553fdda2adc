//! The image family. A tool opens pictures as the caller and writes what comes of them; what decodes and encodes is
//! [`work`], which runs in the parser.

mod batch;
mod compare;
mod convert;
mod crop;
mod make_montage;
mod make_thumbnail;
mod optimize;
mod resize;
mod rotate;
mod show_info;
mod strip_metadata;
mod task;
mod view;
pub mod work;

use skynet_core::Toolset;

/// All of it.
#[must_use]
pub fn toolset() -> Toolset {
    Toolset::new("image", "look at pictures; resize, convert, crop, rotate, optimize, compare them")
        .altering(&[])
        .with(show_info::ImageShowInfo)
        .with(view::ImageView)
        .with(resize::ImageResize)
        .with(convert::ImageConvert)
        .with(make_thumbnail::ImageMakeThumbnail)
        .with(crop::ImageCrop)
        .with(rotate::ImageRotate)
        .with(optimize::ImageOptimize)
        .with(strip_metadata::ImageStripMetadata)
        .with(make_montage::ImageMakeMontage)
        .with(compare::ImageCompare)
}
