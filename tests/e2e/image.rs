//! Pictures, read in a process that can do nothing else.

use image::{DynamicImage, GenericImageView as _, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use img_parts::{DynImage, ImageEXIF as _};
use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim, is_parser, wait_until};
use std::{fs, io::Cursor, path::PathBuf};

const RED: [u8; 3] = [220, 30, 30];
const BLUE: [u8; 3] = [30, 30, 220];

struct Bench {
    shim: Shim,
    daemon: Daemon,
    home: Home,
}

impl Bench {
    fn new() -> Self {
        let home = Home::new();
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { shim, daemon, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.project.join(name)
    }

    fn put(&self, name: &str, picture: &DynamicImage) {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::from_path(name).unwrap()).unwrap();
        fs::write(self.path(name), bytes.into_inner()).unwrap();
    }

    fn get(&self, name: &str) -> DynamicImage {
        image::load_from_memory(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn try_call(&mut self, tool: &str, input: Value) -> Result<Value, String> {
        self.shim.call(tool, input)
    }

    fn call(&mut self, tool: &str, input: Value) -> Value {
        self.try_call(tool, input.clone()).unwrap_or_else(|err| panic!("{tool} {input}: {err}"))
    }

    /// What became of the only picture of a call.
    fn make(&mut self, tool: &str, input: Value) -> (String, u64, u64) {
        let answer = self.call(tool, input);
        let picture = &answer["pictures"][0];
        let side = |name: &str| picture[name].as_u64().unwrap();
        (picture["output"].as_str().unwrap().to_owned(), side("width"), side("height"))
    }
}

/// Red on the left, blue on the right.
fn halves(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, _| Rgb(if x * 2 < width { RED } else { BLUE })).into()
}

fn is_near(picture: &DynamicImage, x: u32, y: u32, color: [u8; 3]) -> bool {
    let found = picture.get_pixel(x, y).0;
    color.iter().zip(found).all(|(wanted, found)| wanted.abs_diff(found) < 40)
}

/// A TIFF structure: held on its right side, and where it was taken (EXIF 2.32, 4.6.3 and 4.6.6).
fn exif() -> Vec<u8> {
    let entry = |tag: u16, kind: u16, count: u32, value: [u8; 4]| {
        [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value].concat()
    };
    let directory = |entries: &[Vec<u8>]| {
        [&(entries.len() as u16).to_le_bytes()[..], &entries.concat(), &0_u32.to_le_bytes()].concat()
    };
    let first = directory(&[
        entry(0x010f, 2, 4, *b"Zot\0"),
        entry(0x0112, 3, 1, [6, 0, 0, 0]),
        entry(0x8825, 4, 1, (8 + 2 + 3 * 12 + 4_u32).to_le_bytes()),
    ]);
    let location = directory(&[entry(1, 2, 2, *b"N\0\0\0")]);
    [&b"II\x2a\0\x08\0\0\0"[..], &first, &location].concat()
}

fn with_exif(bytes: Vec<u8>) -> Vec<u8> {
    let mut parts = DynImage::from_bytes(bytes.into()).unwrap().unwrap();
    parts.set_exif(Some(exif().into()));
    parts.encoder().bytes().into()
}

#[test]
fn pictures_are_resized_one_or_many_and_that_is_taken_back() {
    let mut bench = Bench::new();
    bench.put("photo.jpg", &halves(400, 300));
    bench.put("other.png", &halves(300, 400));
    let (output, width, height) = bench.make("image_resize", json!({ "paths": ["photo.jpg"], "width": 100 }));
    assert_eq!((&output[..], width, height), ("photo-100w.jpg", 100, 75));
    let small = bench.get("photo-100w.jpg");
    assert_eq!(small.dimensions(), (100, 75));
    assert!(is_near(&small, 10, 40, RED) && is_near(&small, 90, 40, BLUE));
    for (fit, result, corner) in [
        ("inside", (120, 90), RED),
        ("cover", (120, 120), RED),
        ("fill", (120, 120), RED),
        ("contain", (120, 120), [255; 3]),
    ] {
        let input = json!({ "paths": ["photo.jpg"], "width": 120, "height": 120, "fit": fit, "output": format!("{fit}.png") });
        bench.make("image_resize", input);
        let made = bench.get(&format!("{fit}.png"));
        assert_eq!(made.dimensions(), result, "{fit}");
        assert!(is_near(&made, 0, 0, corner), "{fit}");
    }
    // Several become files of a directory, and nothing is written where one is in the way.
    let input =
        json!({ "paths": ["photo.jpg", "other.png"], "height": 50, "format": "webp", "output": "small/" });
    let answer = bench.call("image_resize", input.clone());
    assert_eq!(answer["written"], 2);
    assert_eq!(bench.get("small/photo-50h.webp").dimensions(), (67, 50));
    assert_eq!(bench.get("small/other-50h.webp").dimensions(), (38, 50));
    fs::remove_file(bench.path("small/photo-50h.webp")).unwrap();
    let refused = bench.try_call("image_resize", input).unwrap_err();
    assert!(refused.contains("`small/other-50h.webp` exists already"), "{refused}");
    assert!(!bench.path("small/photo-50h.webp").exists());
    // In place, and back.
    let before = fs::read(bench.path("photo.jpg")).unwrap();
    let input = json!({ "paths": ["photo.jpg"], "width": 40, "output": "photo.jpg", "if_exists": "replace" });
    bench.make("image_resize", input);
    assert_eq!(bench.get("photo.jpg").dimensions(), (40, 30));
    let newest = bench.call("undo_list_changes", json!({ "limit": 1 }))["calls"][0]["call"].clone();
    bench.call("undo_revert_call", json!({ "call": newest }));
    assert_eq!(fs::read(bench.path("photo.jpg")).unwrap(), before);
    for (input, said) in [
        (json!({ "paths": ["photo.jpg"] }), "give `width`, `height` or both"),
        (json!({ "paths": ["photo.jpg"], "width": 0 }), "argument `width`"),
        (json!({ "paths": ["gone.jpg"], "width": 5 }), "`gone.jpg`"),
        (json!({ "paths": ["../x.jpg"], "width": 5 }), "leads out of the workspace"),
        (json!({ "paths": ["photo.jpg", "photo.jpg"], "width": 5 }), "two pictures would become"),
        (json!({ "paths": ["photo.jpg"], "width": 5, "size": 5 }), "size"),
        (
            json!({ "paths": ["photo.jpg"], "width": 500, "height": 500, "fit": "cover", "enlarge": false }),
            "too small to cover",
        ),
    ] {
        let refused = bench.try_call("image_resize", input.clone()).unwrap_err();
        assert!(refused.contains(said), "{input}: {refused}");
    }
}

#[test]
fn what_a_camera_noted_is_told_heeded_and_removed() {
    let mut bench = Bench::new();
    for name in ["photo.jpg", "photo.png", "photo.webp"] {
        bench.put(name, &halves(80, 40));
        let bytes = with_exif(fs::read(bench.path(name)).unwrap());
        fs::write(bench.path(name), bytes).unwrap();
        let told = bench.call("image_show_info", json!({ "path": name }));
        let format = if name.ends_with("jpg") { "jpeg" } else { &name[6..] };
        assert_eq!(
            (&told["format"], &told["width"], &told["height"], &told["orientation"]),
            (&json!(format), &json!(40), &json!(80), &json!(6)),
            "{told}"
        );
        assert_eq!((&told["has_location"], &told["metadata"]["Make"]), (&json!(true), &json!("\"Zot\"")));
        // Held on its right side, its left is above.
        bench.make(
            "image_rotate",
            json!({ "paths": [name], "degrees": 0, "output": "up.png", "if_exists": "replace" }),
        );
        let upright = bench.get("up.png");
        assert_eq!(upright.dimensions(), (40, 80), "{name}");
        assert!(is_near(&upright, 20, 5, RED) && is_near(&upright, 20, 75, BLUE), "{name}");
        assert_eq!(bench.call("image_show_info", json!({ "path": "up.png" }))["metadata"], json!({}));
        let output = format!("bare-{name}");
        bench.make("image_strip_metadata", json!({ "paths": [name], "output": output }));
        let told = bench.call("image_show_info", json!({ "path": output }));
        assert_eq!((&told["orientation"], &told["has_location"]), (&json!(6), &json!(false)), "{told}");
        assert_eq!(told["metadata"].as_object().unwrap().len(), 1, "{told}");
        assert_eq!(bench.get(&output).as_bytes(), bench.get(name).as_bytes(), "{name}");
        let input =
            json!({ "paths": [name], "width": 20, "keep_metadata": true, "output": format!("kept-{name}") });
        bench.make("image_resize", input);
        let told = bench.call("image_show_info", json!({ "path": format!("kept-{name}") }));
        assert_eq!(
            (&told["orientation"], &told["height"], &told["has_location"]),
            (&json!(1), &json!(40), &json!(true))
        );
    }
}

#[test]
fn pictures_become_every_format_and_drawings_pictures() {
    let mut bench = Bench::new();
    let clear = RgbaImage::from_fn(60, 40, |x, _| Rgba(if x < 30 { [0; 4] } else { [30, 30, 220, 255] }));
    bench.put("logo.png", &clear.into());
    for (format, extension) in
        [("jpeg", "jpg"), ("webp", "webp"), ("gif", "gif"), ("tiff", "tiff"), ("avif", "avif")]
    {
        let input = json!({ "paths": ["logo.png"], "format": format, "background": [0, 255, 0] });
        let (output, width, height) = bench.make("image_convert", input);
        assert_eq!((&output[..], width, height), (&format!("logo.{extension}")[..], 60, 40));
        if format == "avif" {
            // Nothing here reads it: ISO/IEC 23008-12 begins with the box `ftyp` and that brand.
            assert_eq!(&fs::read(bench.path(&output)).unwrap()[4..12], b"ftypavif");
            continue;
        }
        assert_eq!(bench.call("image_show_info", json!({ "path": output }))["format"], format);
        let made = bench.get(&output);
        assert!(is_near(&made, 50, 20, BLUE), "{format}");
        let left = made.get_pixel(5, 20).0;
        if format == "jpeg" {
            assert!(is_near(&made, 5, 20, [0, 255, 0]), "{left:?}");
        } else {
            assert_eq!(left[3], 0, "{format}");
        }
    }
    let secret = bench.path("secret.png");
    bench.put("secret.png", &halves(10, 10));
    let drawing = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50"><rect width="50" height="50" fill="#dc1e1e"/><image href="{}" x="50" width="50" height="50"/><text x="2" y="45" font-size="40" fill="#1e1edc">II</text></svg>"##,
        secret.display()
    );
    fs::write(bench.path("drawing.svg"), drawing).unwrap();
    let told = bench.call("image_show_info", json!({ "path": "drawing.svg" }));
    assert_eq!(
        (&told["format"], &told["width"], &told["color"]),
        (&json!("svg"), &json!(100), &json!("vector"))
    );
    let (output, ..) = bench.make("image_resize", json!({ "paths": ["drawing.svg"], "width": 400 }));
    assert_eq!(output, "drawing-400w.png");
    let drawn = bench.get(&output);
    assert_eq!(drawn.dimensions(), (400, 200));
    assert!(is_near(&drawn, 50, 20, RED));
    let has_text = (0..200).any(|x| is_near(&drawn, x, 120, BLUE));
    assert!(has_text || skynet_tests::components::font().is_none(), "no text was drawn");
    // What a drawing names outside of itself is not there.
    assert_eq!(drawn.get_pixel(300, 100).0[3], 0);
}

#[test]
fn parts_turns_thumbnails_and_contact_sheets() {
    let mut bench = Bench::new();
    bench.put("photo.png", &halves(400, 200));
    let input = json!({ "paths": ["photo.png"], "x": 150, "y": 10, "width": 100, "height": 20 });
    assert_eq!(bench.make("image_crop", input), ("photo-crop.png".into(), 100, 20));
    let cut = bench.get("photo-crop.png");
    assert!(is_near(&cut, 40, 5, RED) && is_near(&cut, 60, 5, BLUE));
    let input =
        json!({ "paths": ["photo.png"], "x": 350, "y": 0, "width": 51, "height": 1, "output": "none.png" });
    let refused = bench.try_call("image_crop", input).unwrap_err();
    assert!(refused.contains("not inside of the picture, which has 400 x 200 pixels"), "{refused}");
    for (degrees, flip, size, first) in [
        (90, "none", (200, 400), RED),
        (180, "none", (400, 200), BLUE),
        (270, "none", (200, 400), BLUE),
        (0, "horizontal", (400, 200), BLUE),
        (0, "vertical", (400, 200), RED),
    ] {
        let input =
            json!({ "paths": ["photo.png"], "degrees": degrees, "flip": flip, "if_exists": "replace" });
        bench.make("image_rotate", input);
        let turned = bench.get("photo-rotated.png");
        assert!(turned.dimensions() == size && is_near(&turned, 2, 2, first), "{degrees} {flip}");
    }
    assert_eq!(
        bench.make("image_make_thumbnail", json!({ "paths": ["photo.png"] })),
        ("photo-thumb.jpg".into(), 256, 128)
    );
    let input = json!({ "paths": ["photo.png"], "size": 64, "square": true, "format": "png" });
    assert_eq!(bench.make("image_make_thumbnail", input), ("photo-thumb.png".into(), 64, 64));
    let input = json!({ "paths": ["photo.png", "photo-crop.png", "photo.png"], "output": "sheet.png", "columns": 2, "tile_width": 100, "tile_height": 50, "gap": 10, "background": [0, 255, 0] });
    let sheet = bench.call("image_make_montage", input);
    assert_eq!((&sheet["width"], &sheet["height"]), (&json!(230), &json!(130)));
    let made = bench.get("sheet.png");
    for (x, y, color) in
        [(2, 2, [0, 255, 0]), (15, 30, RED), (105, 30, BLUE), (15, 100, RED), (180, 100, [0, 255, 0])]
    {
        assert!(is_near(&made, x, y, color), "{x} {y}");
    }
    let refused = bench
        .try_call("image_make_montage", json!({ "paths": ["photo.png"], "output": "sheet.txt" }))
        .unwrap_err();
    assert!(refused.contains("extension of `output`"), "{refused}");
}

#[test]
fn pictures_are_compared_and_made_smaller_without_loss() {
    let mut bench = Bench::new();
    let noisy = RgbImage::from_fn(200, 100, |x, y| Rgb([(x * 7 + y * 3) as u8, (x ^ y) as u8, 90]));
    bench.put("one.png", &noisy.clone().into());
    let mut other = noisy;
    for (x, y) in [(20, 30), (25, 60)] {
        other.get_pixel_mut(x, y).0[2] = 200;
    }
    bench.put("other.png", &other.into());
    bench.put("third.png", &halves(10, 10));
    let same = bench.call("image_compare", json!({ "first": "one.png", "second": "one.png" }));
    assert_eq!((&same["is_identical"], &same["differing_pixels"]), (&json!(true), &json!(0)));
    let found = bench
        .call("image_compare", json!({ "first": "one.png", "second": "other.png", "output": "diff.png" }));
    assert_eq!(
        [
            &found["is_identical"],
            &found["differing_pixels"],
            &found["differing_area"],
            &found["largest_difference"],
            &found["output"]
        ],
        [&json!(false), &json!(2), &json!([20, 30, 6, 31]), &json!(110), &json!("diff.png")]
    );
    assert_eq!(bench.get("diff.png").get_pixel(25, 60).0, [255, 0, 64, 255]);
    let input = json!({ "first": "one.png", "second": "other.png", "tolerance": 110 });
    assert_eq!(bench.call("image_compare", input)["differing_pixels"], 0);
    let sizes = bench.call("image_compare", json!({ "first": "one.png", "second": "third.png" }));
    assert_eq!((&sizes["is_identical"], &sizes["second_size"]), (&json!(false), &json!([10, 10])));
    assert!(sizes.get("differing_pixels").is_none());

    bench.make("image_optimize", json!({ "paths": ["one.png"] }));
    assert_eq!(bench.get("one-optimized.png").to_rgb8(), bench.get("one.png").to_rgb8());
    let length = |name: &str| fs::metadata(bench.path(name)).unwrap().len();
    assert!(length("one-optimized.png") < length("one.png"));
    let again = bench.call("image_optimize", json!({ "paths": ["one-optimized.png"] }));
    assert_eq!(again["written"], 0);
    assert!(again["pictures"][0]["problem"].as_str().unwrap().contains("no shorter way"), "{again}");
}

#[test]
fn a_picture_is_shown_as_one() {
    let mut bench = Bench::new();
    let noisy = RgbImage::from_fn(1500, 1200, |x, y| {
        Rgb([(x * y) as u8, (x * 31 + y * 17) as u8, (x ^ (y * 5)) as u8])
    });
    bench.put("photo.png", &noisy.into());
    let input = json!({ "name": "image_view", "arguments": { "path": "photo.png" } });
    let answer = bench.shim.request("tools/call", input);
    let content = answer["result"]["content"].as_array().unwrap();
    let shown = content.iter().find(|block| block["type"] == "image").unwrap();
    assert_eq!(shown["mimeType"], "image/jpeg");
    use base64::Engine as _;
    let bytes = base64::prelude::BASE64_STANDARD.decode(shown["data"].as_str().unwrap()).unwrap();
    assert!(bytes.len() <= 48 << 10);
    let picture = image::load_from_memory(&bytes).unwrap();
    let told = &answer["result"]["structuredContent"];
    assert_eq!((&told["width"], &told["height"]), (&json!(picture.width()), &json!(picture.height())));
    assert_eq!((&told["original_width"], &told["original_height"]), (&json!(1500), &json!(1200)));
    assert!(told.get("picture").is_none());
    let text: Value = serde_json::from_str(content[0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(&text, told);
}

/// A PNG that says it has that size, and holds nothing of it.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    halves(1, 1).write_to(&mut bytes, ImageFormat::Png).unwrap();
    let bytes = bytes.into_inner();
    let mut header = [&b"IHDR"[..], &width.to_be_bytes(), &height.to_be_bytes(), &bytes[24..29]].concat();
    header.extend(crc32fast::hash(&header).to_be_bytes());
    [&bytes[..12], &header, &bytes[33..]].concat()
}

#[test]
fn a_bad_picture_costs_an_error_and_nothing_else() {
    let mut bench = Bench::new();
    bench.put("good.png", &halves(40, 20));
    bench.call("image_show_info", json!({ "path": "good.png" }));
    let hands = bench.daemon.hands();
    fs::write(bench.path("bomb.png"), bomb(60_000, 60_000)).unwrap();
    fs::write(bench.path("long.png"), bomb(9_000, 9_000)).unwrap();
    fs::write(bench.path("words.png"), "no picture").unwrap();
    fs::write(bench.path("empty.png"), "").unwrap();
    for (name, said) in [
        ("bomb.png", "60000 x 60000 are more than 100000000 pixels"),
        ("long.png", "damaged"),
        ("words.png", "no picture in JPEG, PNG"),
        ("empty.png", "no picture in JPEG, PNG"),
    ] {
        for (tool, input) in [
            ("image_resize", json!({ "paths": [name], "width": 10 })),
            ("image_view", json!({ "path": name })),
            ("image_compare", json!({ "first": "good.png", "second": name })),
        ] {
            let refused = bench.try_call(tool, input).unwrap_err();
            assert!(
                refused.starts_with("invalid_input") && refused.contains(said),
                "{tool} {name}: {refused}"
            );
        }
    }
    // What a size says is told even of one that no tool takes.
    assert_eq!(bench.call("image_show_info", json!({ "path": "bomb.png" }))["width"], 60_000);
    // Beside a bad one the good ones are made.
    let answer = bench
        .call("image_resize", json!({ "paths": ["words.png", "good.png"], "width": 10, "output": "out" }));
    assert_eq!(answer["written"], 1);
    assert!(answer["pictures"][0]["problem"].is_string() && answer["pictures"][1]["output"].is_string());
    let left: Vec<_> =
        fs::read_dir(&bench.home.project).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".tmp")), "{left:?}");
    assert_eq!(bench.daemon.hands(), hands);
}

/// Numbers that look random and are the same each time (Marsaglia's xorshift).
fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}

#[test]
fn two_hundred_damaged_pictures_leave_hands_alone() {
    let mut bench = Bench::new();
    let mut number = numbers(0x5eed_cafe_f00d);
    let mut names = Vec::new();
    for extension in ["jpg", "png", "webp", "gif", "tiff"] {
        let original = format!("good.{extension}");
        bench.put(&original, &halves(60, 40));
        let bytes = fs::read(bench.path(&original)).unwrap();
        for count in 0..40 {
            let mut damaged = bytes.clone();
            for _ in 0..=number(8) {
                let place = number(damaged.len());
                damaged[place] = number(256) as u8;
            }
            if count % 3 == 0 {
                damaged.truncate(number(bytes.len()) + 1);
            }
            let name = format!("bad-{count}.{extension}");
            fs::write(bench.path(&name), damaged).unwrap();
            names.push(name);
        }
    }
    bench.call("image_show_info", json!({ "path": "good.png" }));
    let hands = bench.daemon.hands();
    for chunk in names.chunks(100) {
        let input = json!({ "paths": chunk, "width": 16, "format": "png", "output": "out" });
        match bench.try_call("image_resize", input) {
            Ok(answer) => {
                for picture in answer["pictures"].as_array().unwrap() {
                    assert!(picture["output"].is_string() || picture["problem"].is_string(), "{picture}");
                }
            }
            Err(err) => assert!(err.starts_with("invalid_input"), "{err}"),
        }
    }
    assert_eq!(bench.daemon.hands(), hands);
}

/// The processes below hands that read pictures.
fn parsers(hands: &[u32]) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        is_parser(*pid) && hands.iter().any(|parent| status.contains(&format!("PPid:\t{parent}\n")))
    })
    .collect()
}

fn filters(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn a_parser_is_confined_further_than_hands_and_ends_when_nobody_waits_for_it() {
    let mut bench = Bench::new();
    let noisy = RgbImage::from_fn(3000, 2000, |x, y| Rgb([(x * y) as u8, (x ^ y) as u8, (x + y * 3) as u8]));
    bench.put("large.png", &noisy.into());
    bench.call("image_show_info", json!({ "path": "large.png" }));
    let hands = bench.daemon.hands();
    let arguments = json!({ "paths": ["large.png"], "format": "avif" });
    let id = bench.shim.post("tools/call", json!({ "name": "image_convert", "arguments": arguments }));
    let is_confined = |pid: &u32| filters(*pid) > hands.iter().map(|pid| filters(*pid)).max().unwrap_or(0);
    wait_until(|| parsers(&hands).iter().any(is_confined));
    bench.shim.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }),
    );
    wait_until(|| parsers(&hands).is_empty());
    assert!(!bench.path("large.avif").exists());
    assert_eq!(bench.daemon.hands(), hands);
}
