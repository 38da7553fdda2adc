//! The directory that an image is built of, on its way to the engine without what its ignore file names. It is read, listed and
//! packed in slots, as the caller; this process sees the patterns and the names, and says which of them are packed.

use crate::{
    Engine,
    client::Kind,
    files::{Packer, tar},
    ignored::{self, Ignored},
};
use skynet_core::{CallCtx, Error, Result};
use std::{
    path::{Component, Path},
    sync::Arc,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
    task::spawn_blocking,
};

/// Prints the first of the files that is there, or nothing.
const SHOW_FIRST: &str = r#"cd -- "$1" || exit 1
most="$2"
shift 2
for file in "$@"; do
    if [ -f "$file" ]; then
        exec head --bytes="$most" -- "$file"
    fi
done"#;

/// Prints each name of the context, with a NUL behind it and a sign in front: `-` for a directory that cannot be looked into, which
/// only matters where it is not ignored.
const LIST_NAMES: &str = r#"cd -- "$1" || exit 1
exec find . -mindepth 1 -type d '(' ! -readable -o ! -executable ')' -printf '-%P\0' -prune -o -printf '+%P\0'"#;

/// The file that an engine wants to see even where it names itself (docker/cli, `TrimBuildFilesFromExcludes`).
const IGNORE_FILE: &str = ".dockerignore";

/// Podman's own.
const PODMAN_IGNORE_FILE: &str = ".containerignore";

/// Of names, at once.
const PIECE_BYTES: usize = 64 << 10;

/// Longer than any path that the kernel takes (path_resolution(7), `PATH_MAX`).
const LONGEST_NAME: usize = 8 << 10;

/// A context that is packed.
pub(crate) struct Context {
    /// Ends when all is packed.
    pub(crate) packer: Packer,
    /// The archive.
    pub(crate) archive: pipe::Receiver,
    /// The names that are still to be sorted; without any patterns there are none.
    pub(crate) sorting: Option<Sorting>,
}

impl Context {
    /// Begins to pack `directory`, which is below the workspace, with the recipe `recipe` in it, for an engine of that kind.
    ///
    /// # Errors
    /// `NotFound` for a directory that is not there, `InvalidInput` for patterns that are none.
    pub(crate) async fn pack(
        engine: &Engine,
        ctx: &CallCtx,
        kind: Kind,
        directory: &str,
        recipe: &str,
    ) -> Result<Self> {
        let recipe = as_listed(recipe);
        let ignored = read_ignored(engine, ctx, directory, &ignore_files(kind, &recipe)).await?;
        let inside = format!("--directory={directory}");
        if ignored.is_empty() {
            let argv = tar(&["--create", "--file=-", &inside, "."]);
            let (packer, archive) = Packer::reading(engine, ctx, argv).await?;
            return Ok(Self { packer, archive, sorting: None });
        }
        let list = ["sh", "-c", LIST_NAMES, "-", directory].map(str::to_owned).to_vec();
        let (lister, listed) = Packer::reading(engine, ctx, list).await?;
        let argv = tar(&["--create", "--file=-", &inside, "--null", "--no-recursion", "--files-from=-"]);
        let (packer, wanted, archive) = Packer::between(engine, ctx, argv).await?;
        let choice = Arc::new(Choice { ignored, always: always_sent(kind, recipe) });
        Ok(Self { packer, archive, sorting: Some(Sorting { lister, listed, wanted, choice }) })
    }
}

/// The path of a recipe as names of the context are listed, however it is written.
fn as_listed(recipe: &str) -> String {
    let parts = Path::new(recipe).components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Where the patterns are: in the first of these that is there. The file of the recipe alone comes before that of the context, as in
/// BuildKit (Docker, "Build context", "Filename and location") and in Podman, which has names of its own besides
/// (containers/buildah, `ContainerIgnoreFile`).
fn ignore_files(kind: Kind, recipe: &str) -> Vec<String> {
    let of_recipe = |name: &str| format!("{recipe}{name}");
    match kind {
        Kind::Docker => vec![of_recipe(IGNORE_FILE), IGNORE_FILE.to_owned()],
        Kind::Podman => vec![
            of_recipe(IGNORE_FILE),
            of_recipe(PODMAN_IGNORE_FILE),
            PODMAN_IGNORE_FILE.to_owned(),
            IGNORE_FILE.to_owned(),
        ],
    }
}

/// What is sent whatever is ignored. Podman looks for patterns again where it unpacks, and shall find the same ones.
fn always_sent(kind: Kind, recipe: String) -> Vec<String> {
    let mut always = match kind {
        Kind::Docker => vec![IGNORE_FILE.to_owned()],
        Kind::Podman => ignore_files(kind, &recipe),
    };
    always.push(recipe);
    always
}

/// The patterns of the context; none where it has no file of them.
async fn read_ignored(engine: &Engine, ctx: &CallCtx, directory: &str, files: &[String]) -> Result<Ignored> {
    let most = (ignored::MOST_BYTES + 1).to_string();
    let words = ["sh", "-c", SHOW_FIRST, "-", directory, &most].map(str::to_owned);
    let argv = words.into_iter().chain(files.iter().map(|file| format!("./{file}"))).collect();
    let (reader, pipe) = Packer::reading(engine, ctx, argv).await?;
    let mut bytes = Vec::new();
    // What breaks off is seen when the program is asked how it ended.
    let _ = pipe.take(ignored::MOST_BYTES + 1).read_to_end(&mut bytes).await;
    reader.finish(ctx).await?;
    if bytes.len() as u64 > ignored::MOST_BYTES {
        return Err(Error::invalid_input(format!(
            "the context's ignore file is longer than {} KiB, which is all that is read of one",
            ignored::MOST_BYTES >> 10
        )));
    }
    aside(move || Ignored::parse(&String::from_utf8_lossy(&bytes))).await
}

/// Does beside everything else what takes the processor for long where there are many patterns.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = spawn_blocking(work).await;
    done.map_err(|err| Error::internal("the patterns of the context could not be followed").with_source(err))?
}

/// Names on their way from what lists them to what packs them.
pub(crate) struct Sorting {
    lister: Packer,
    listed: pipe::Receiver,
    wanted: pipe::Sender,
    choice: Arc<Choice>,
}

impl Sorting {
    /// Passes on the names that are to be packed, until there are no more.
    ///
    /// # Errors
    /// `InvalidInput` where a directory that is to be packed cannot be looked into.
    pub(crate) async fn run(mut self, ctx: &CallCtx) -> Result<()> {
        let mut pending: Vec<u8> = Vec::new();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            // What breaks off is seen when the lister is asked how it ended.
            let length = self.listed.read(&mut piece).await.unwrap_or(0);
            let Some(more) = piece.get(..length).filter(|more| !more.is_empty()) else { break };
            pending.extend_from_slice(more);
            let Some(last) = pending.iter().rposition(|byte| *byte == 0) else {
                if pending.len() > LONGEST_NAME {
                    return Err(Error::internal("what lists the context names a path that is none"));
                }
                continue;
            };
            let rest = pending.split_off(last + 1);
            let (choice, listed) = (self.choice.clone(), std::mem::replace(&mut pending, rest));
            let chosen = aside(move || choice.choose(&listed)).await?;
            if self.wanted.write_all(&chosen).await.is_err() {
                // What packs says itself why it ended.
                return Ok(());
            }
        }
        self.lister.finish(ctx).await?;
        // Only now does the packer see the end: what was listed by halves is not packed as if it were all.
        drop(self.wanted);
        Ok(())
    }
}

/// What decides about a name.
struct Choice {
    ignored: Ignored,
    always: Vec<String>,
}

impl Choice {
    /// Of names with their signs, those that are packed.
    fn choose(&self, listed: &[u8]) -> Result<Vec<u8>> {
        let mut chosen = Vec::new();
        for entry in listed.split(|byte| *byte == 0) {
            let Some((sign, name)) = entry.split_first() else { continue };
            let path = String::from_utf8_lossy(name);
            let is_always_sent = self.always.iter().any(|always| *always == path);
            let is_out = !is_always_sent && self.ignored.leaves_out(&path);
            if *sign == b'-' && (!is_out || self.ignored.may_take_back_from(&path)) {
                return Err(Error::invalid_input(format!(
                    "the directory `{path}` of the context cannot be read; name it in the context's ignore file, such as `.dockerignore`, or build from another directory"
                )));
            }
            if !is_out {
                // Behind this no name looks like an option.
                chosen.extend_from_slice(b"./");
                chosen.extend_from_slice(name);
                chosen.push(0);
            }
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_by(kind: Kind, recipe: &str, ignored: &str, listed: &[u8]) -> Result<String> {
        let always = always_sent(kind, as_listed(recipe));
        let chosen = Choice { ignored: Ignored::parse(ignored)?, always }.choose(listed)?;
        Ok(String::from_utf8_lossy(&chosen).replace('\0', " "))
    }

    fn chosen(ignored: &str, listed: &[u8]) -> Result<String> {
        chosen_by(Kind::Docker, "docker/Dockerfile", ignored, listed)
    }

    #[test]
    fn what_is_ignored_is_not_packed_and_the_recipe_always_is() {
        let listed =
            b"+src\0+src/main.rs\0+target\0+target/large\0+docker\0+docker/Dockerfile\0+.dockerignore\0+-x\0";
        assert_eq!(
            chosen("target\ndocker\n.dockerignore", listed).unwrap(),
            "./src ./src/main.rs ./docker/Dockerfile ./.dockerignore ./-x "
        );
        assert_eq!(
            chosen("*\n!src", listed).unwrap(),
            "./src ./src/main.rs ./docker/Dockerfile ./.dockerignore "
        );
        // A name that is no text is judged too, and packed as it is.
        let choice = Choice { ignored: Ignored::parse("a?").unwrap(), always: Vec::new() };
        assert_eq!(choice.choose(b"+a\xff\0+b\xff\0").unwrap(), b"./b\xff\0");
    }

    #[test]
    fn a_recipe_is_sent_however_its_path_is_written() {
        let listed = b"+docker\0+docker/Dockerfile\0+docker/other\0";
        for recipe in
            ["docker/Dockerfile", "./docker/Dockerfile", "docker/./Dockerfile", "././docker//Dockerfile"]
        {
            let chosen = chosen_by(Kind::Docker, recipe, "docker", listed).unwrap();
            assert_eq!(chosen, "./docker/Dockerfile ", "{recipe}");
        }
    }

    #[test]
    fn each_engine_has_its_names_of_the_ignore_file_and_finds_it() {
        assert_eq!(
            ignore_files(Kind::Docker, "a/Dockerfile"),
            ["a/Dockerfile.dockerignore", ".dockerignore"]
        );
        assert_eq!(
            ignore_files(Kind::Podman, "a/Containerfile"),
            [
                "a/Containerfile.dockerignore",
                "a/Containerfile.containerignore",
                ".containerignore",
                ".dockerignore"
            ]
        );
        let listed = b"+.containerignore\0+.dockerignore\0+Dockerfile\0+Dockerfile.containerignore\0+x\0";
        for (kind, sent) in [
            (Kind::Docker, "./.dockerignore ./Dockerfile "),
            (Kind::Podman, "./.containerignore ./.dockerignore ./Dockerfile ./Dockerfile.containerignore "),
        ] {
            assert_eq!(chosen_by(kind, "Dockerfile", "*", listed).unwrap(), sent, "{kind:?}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_read_matters_only_where_it_is_sent() {
        assert_eq!(chosen("data", b"-data\0+x\0").unwrap(), "./x ");
        for ignored in ["other", "data\n!data/keep", "data\n!**/keep"] {
            let refused = chosen(ignored, b"-data\0+x\0").unwrap_err();
            assert!(refused.message.contains("`data` of the context cannot be read"), "{}", refused.message);
        }
    }
}
