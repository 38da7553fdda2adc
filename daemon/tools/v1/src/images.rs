//! Pictures.

use crate::arguments::{Arguments, schema};
use serde_json::{Value, json};
use skynet_core::Alias;

/// Of `image_make_thumbnail`, in pixels.
const LONGEST_SIDE: u64 = 2048;

pub(crate) fn aliases() -> Vec<Alias> {
    vec![
        Alias::new(
            "resize_image",
            "Resize a picture.",
            &["image_resize"],
            schema(
                json!({
                    "inputPath": picture(),
                    "outputPath": output(),
                    "width": { "type": "integer", "minimum": 1, "description": "New width in pixels." },
                    "height": { "type": "integer", "minimum": 1, "description": "New height in pixels." },
                    "fit": { "enum": ["cover", "contain", "fill"], "description": "What to do with another shape; `cover` by default." },
                    "quality": quality(),
                }),
                &["inputPath"],
            ),
            |arguments| {
                let arguments = Arguments(arguments);
                let arguments =
                    if arguments.0.contains_key("fit") { arguments } else { arguments.with("fit", "cover") };
                ("image_resize", of_one(arguments).0)
            },
        ),
        Alias::new(
            "convert_format",
            "Convert a picture to another format.",
            &["image_convert"],
            schema(
                json!({
                    "inputPath": picture(),
                    "outputFormat": { "enum": ["png", "jpg", "jpeg", "webp", "avif"], "description": "The new format." },
                    "outputPath": output(),
                    "quality": quality(),
                }),
                &["inputPath", "outputFormat"],
            ),
            |arguments| {
                let arguments = Arguments(arguments).rename("outputFormat", "format");
                ("image_convert", of_one(arguments).0)
            },
        ),
        Alias::new(
            "generate_thumbnail",
            "Make a thumbnail of a picture.",
            &["image_make_thumbnail"],
            schema(
                json!({
                    "inputPath": picture(),
                    "outputPath": output(),
                    "size": { "type": "integer", "minimum": 1, "description": "The longer side in pixels; 256 by default." },
                    "format": { "enum": ["png", "jpg", "jpeg", "webp"], "description": "Its format; `jpeg` by default." },
                }),
                &["inputPath"],
            ),
            |arguments| {
                ("image_make_thumbnail", of_one(Arguments(arguments).at_most("size", LONGEST_SIDE)).0)
            },
        ),
    ]
}

fn picture() -> Value {
    json!({ "type": "string", "minLength": 1, "description": "The picture." })
}

fn output() -> Value {
    json!({ "type": "string", "description": "The new file; by default beside the picture." })
}

fn quality() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": 100, "description": "Of lossy formats; 80 by default." })
}

/// One picture, whose result replaces what is there, as in v1.
fn of_one(mut arguments: Arguments) -> Arguments {
    if let Some(path) = arguments.take("inputPath") {
        arguments = arguments.with("paths", json!([path]));
    }
    if arguments.0.get("format").is_some_and(|format| format == "jpg") {
        arguments = arguments.with("format", "jpeg");
    }
    arguments.rename("outputPath", "output").with("if_exists", "replace")
}
