//! The directory that an image is built of, on its way to the engine without what its `.dockerignore` names. It is read, listed and
//! packed in slots, as the caller; this process sees the patterns and the names, and says which of them are packed.

use crate::{
    Engine,
    files::{Packer, tar},
    ignored::{self, Ignored},
};
use skynet_core::{CallCtx, Error, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
};

/// Prints what is to be ignored: as in BuildKit and Podman, the file of the recipe alone comes before that of the context
/// (Docker, "Build context", "Filename and location").
const SHOW_IGNORED: &str = r#"cd -- "$1" || exit 1
for file in "./$2.dockerignore" ./.dockerignore; do
    if [ -f "$file" ]; then
        exec head --bytes="$3" -- "$file"
    fi
done"#;

/// Prints each name of the context, with a NUL behind it and a sign in front: `-` for a directory that cannot be looked into, which
/// only matters where it is not ignored.
const LIST_NAMES: &str = r#"cd -- "$1" || exit 1
exec find . -mindepth 1 -type d '(' ! -readable -o ! -executable ')' -printf '-%P\0' -prune -o -printf '+%P\0'"#;

/// The file that an engine wants to see even where it names itself (docker/cli, `TrimBuildFilesFromExcludes`).
const IGNORE_FILE: &str = ".dockerignore";

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
    /// Begins to pack `directory`, which is below the workspace, with the recipe `recipe` in it.
    ///
    /// # Errors
    /// `NotFound` for a directory that is not there, `InvalidInput` for patterns that are none.
    pub(crate) async fn pack(engine: &Engine, ctx: &CallCtx, directory: &str, recipe: &str) -> Result<Self> {
        let ignored = read_ignored(engine, ctx, directory, recipe).await?;
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
        let recipe = recipe.trim_start_matches("./").to_owned();
        Ok(Self { packer, archive, sorting: Some(Sorting { lister, listed, wanted, ignored, recipe }) })
    }
}

/// The patterns of the context; none where it has no file of them.
async fn read_ignored(engine: &Engine, ctx: &CallCtx, directory: &str, recipe: &str) -> Result<Ignored> {
    let most = (ignored::MOST_BYTES + 1).to_string();
    let argv = ["sh", "-c", SHOW_IGNORED, "-", directory, recipe, &most].map(str::to_owned).to_vec();
    let (reader, pipe) = Packer::reading(engine, ctx, argv).await?;
    let mut bytes = Vec::new();
    // What breaks off is seen when the program is asked how it ended.
    let _ = pipe.take(ignored::MOST_BYTES + 1).read_to_end(&mut bytes).await;
    reader.finish(ctx).await?;
    if bytes.len() as u64 > ignored::MOST_BYTES {
        return Err(Error::invalid_input(format!(
            "the context's `.dockerignore` is longer than {} KiB, which is all that is read of one",
            ignored::MOST_BYTES >> 10
        )));
    }
    Ignored::parse(&String::from_utf8_lossy(&bytes))
}

/// Names on their way from what lists them to what packs them.
pub(crate) struct Sorting {
    lister: Packer,
    listed: pipe::Receiver,
    wanted: pipe::Sender,
    ignored: Ignored,
    recipe: String,
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
            let chosen = choose(&self.ignored, &self.recipe, &pending)?;
            pending = rest;
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

/// Of names with their signs, those that are packed.
fn choose(ignored: &Ignored, recipe: &str, listed: &[u8]) -> Result<Vec<u8>> {
    let mut chosen = Vec::new();
    for entry in listed.split(|byte| *byte == 0) {
        let Some((sign, name)) = entry.split_first() else { continue };
        let path = String::from_utf8_lossy(name);
        let is_out = path != IGNORE_FILE && path != recipe && ignored.leaves_out(&path);
        if *sign == b'-' && (!is_out || ignored.may_take_back_from(&path)) {
            return Err(Error::invalid_input(format!(
                "the directory `{path}` of the context cannot be read; name it in `.dockerignore`, or build from another directory"
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(ignored: &str, listed: &[u8]) -> Result<String> {
        let chosen = choose(&Ignored::parse(ignored)?, "docker/Dockerfile", listed)?;
        Ok(String::from_utf8_lossy(&chosen).replace('\0', " "))
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
        assert_eq!(choose(&Ignored::parse("a?").unwrap(), "", b"+a\xff\0+b\xff\0").unwrap(), b"./b\xff\0");
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
