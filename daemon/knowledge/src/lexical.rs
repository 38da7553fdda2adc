//! The words of a collection, by tantivy: which passages have them, and what is known of each file. One commit changes all of a
//! file or nothing, is durable, and is seen by the searches that begin after it.

use crate::{
    analysis::Words,
    collectors::{Addresses, Keys},
    languages::Languages,
    stored::{FileState, StoredPassage},
};
use serde::{Deserialize, Serialize};
use skynet_core::{Error, Result};
use skynet_documents::Passage;
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};
use tantivy::{
    DocAddress, Index, IndexReader, IndexWriter, ReloadPolicy, Score, Searcher, TantivyDocument, Term,
    collector::{Count, TopDocs},
    directory::MmapDirectory,
    query::{
        AllQuery, Bm25StatisticsProvider, BooleanQuery, BoostQuery, ConstScoreQuery, Occur, Query,
        RegexQuery, TermQuery, TermSetQuery,
    },
    schema::{
        FAST, Field, INDEXED, IndexRecordOption, NumericOptions, STORED, STRING, Schema, SchemaBuilder,
        TextFieldIndexing, TextOptions, Value as _,
    },
};

/// What a writer may keep in memory, in bytes.
const WRITER_BYTES: usize = 64 << 20;

/// How much a word counts in the name of a file or of what is defined, where one in the text counts 1. Names are short, which makes
/// much of each of their words, and many are those of directories.
const NAME_WEIGHT: Score = 0.25;

/// [`FileState::is_coarse`].
const COARSE: &str = "coarse";

#[derive(Clone, Copy)]
struct Fields {
    /// The path of the file, exactly, of its passages too.
    path: Field,
    /// Only of files: `1`, and `coarse` of those that are.
    file: Field,
    /// Words of a passage.
    text: Field,
    /// Words of its path and of what it defines.
    name: Field,
    /// What it defines, in lower case.
    symbol: Field,
    /// [`StoredPassage::key`].
    key: Field,
    /// Whether the model for languages other than English is for it.
    is_foreign: Field,
    /// JSON of a [`StoredPassage`] or [`FileState`].
    data: Field,
}

impl Fields {
    fn schema() -> (Schema, Self) {
        let mut schema = SchemaBuilder::new();
        let words = TextOptions::default().set_indexing_options(
            // They are words already, between spaces.
            TextFieldIndexing::default()
                .set_tokenizer("whitespace")
                .set_index_option(IndexRecordOption::WithFreqs),
        );
        let number = || NumericOptions::from(FAST);
        let fields = Self {
            path: schema.add_text_field("path", STRING),
            file: schema.add_text_field("file", STRING),
            text: schema.add_text_field("text", words.clone()),
            name: schema.add_text_field("name", words),
            symbol: schema.add_text_field("symbol", STRING),
            key: schema.add_u64_field("key", number() | INDEXED),
            is_foreign: schema.add_u64_field("is_foreign", number()),
            data: schema.add_bytes_field("data", STORED),
        };
        (schema.build(), fields)
    }
}

/// The index of words.
pub(crate) struct Lexical {
    index: Index,
    reader: IndexReader,
    fields: Fields,
}

/// Changes the index; nothing is seen before [`Writing::commit`].
pub(crate) struct Writing {
    lexical: Arc<Lexical>,
    writer: IndexWriter,
    words: Words,
}

/// What is committed with the index.
#[derive(Default, Serialize, Deserialize)]
struct Payload {
    #[serde(flatten)]
    languages: Languages,
    #[serde(default)]
    cursor: Option<String>,
}

/// A passage that has words of a question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) address: DocAddress,
    pub(crate) score: Score,
}

impl Lexical {
    /// Opens the index in `directory`, or makes one.
    ///
    /// # Errors
    /// What tantivy says; an index that is damaged can be removed and built anew.
    pub(crate) fn open(directory: &Path) -> tantivy::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let (schema, fields) = Fields::schema();
        let index = Index::open_or_create(MmapDirectory::open(directory)?, schema)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { index, reader, fields })
    }

    /// Checks every file against its checksum.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn is_whole(&self) -> tantivy::Result<bool> {
        Ok(self.index.validate_checksum()?.is_empty())
    }

    /// Begins to change it; there is one writer at a time.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub(crate) fn write(self: &Arc<Self>) -> Result<Writing> {
        let writer = self.index.writer_with_num_threads(1, WRITER_BYTES).map_err(cannot("written"))?;
        Ok(Writing { lexical: self.clone(), writer, words: Words::default() })
    }

    /// What is committed, now.
    pub(crate) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// The best passages for some words as [`terms`] has them, best first; only of some files, as [`Lexical::at`] has them, which have
    /// passages. What a word counts is for `statistics` to say.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be read.
    pub(crate) fn search(
        &self,
        searcher: &Searcher,
        terms: &[String],
        statistics: &dyn Bm25StatisticsProvider,
        within: Option<&TermSetQuery>,
        most: usize,
    ) -> Result<Vec<Hit>> {
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let term = |field: Field, word: &str| -> Box<dyn Query> {
            Box::new(TermQuery::new(Term::from_field_text(field, word), IndexRecordOption::WithFreqs))
        };
        let clauses = terms.iter().flat_map(|word| {
            let name = BoostQuery::new(term(self.fields.name, word), NAME_WEIGHT);
            [(Occur::Should, term(self.fields.text, word)), (Occur::Should, Box::new(name) as Box<dyn Query>)]
        });
        let mut query = BooleanQuery::new(clauses.collect());
        if let Some(paths) = within {
            // Where a passage is adds nothing to what it says.
            let place = ConstScoreQuery::new(Box::new(paths.clone()), 0.0);
            query = BooleanQuery::new(vec![
                (Occur::Must, Box::new(query) as Box<dyn Query>),
                (Occur::Must, Box::new(place)),
            ]);
        }
        let top = TopDocs::with_limit(most.max(1)).order_by_score();
        let found =
            searcher.search_with_statistics_provider(&query, &top, statistics).map_err(cannot("searched"))?;
        Ok(found.into_iter().map(|(score, address)| Hit { address, score }).collect())
    }

    /// All that is of the files of these paths. To make it of many takes a while.
    pub(crate) fn at(&self, paths: &[String]) -> TermSetQuery {
        TermSetQuery::new(paths.iter().map(|path| Term::from_field_text(self.fields.path, path)))
    }

    /// Where the passages of these keys are; one key may be that of several.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be read.
    pub(crate) fn locate(
        &self,
        searcher: &Searcher,
        keys: impl IntoIterator<Item = u64>,
    ) -> Result<HashMap<u64, Vec<DocAddress>>> {
        let terms = keys.into_iter().map(|key| Term::from_field_u64(self.fields.key, key));
        self.places(searcher, &TermSetQuery::new(terms))
    }

    /// Where the passages of files are, as [`Lexical::at`] has these, by their keys.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be read.
    pub(crate) fn places_in(
        &self,
        searcher: &Searcher,
        files: &TermSetQuery,
    ) -> Result<HashMap<u64, Vec<DocAddress>>> {
        self.places(searcher, files)
    }

    fn places(&self, searcher: &Searcher, query: &dyn Query) -> Result<HashMap<u64, Vec<DocAddress>>> {
        let mut found: HashMap<u64, Vec<DocAddress>> = HashMap::new();
        for (key, _, address) in searcher.search(query, &Keys).map_err(cannot("searched"))? {
            found.entry(key).or_default().push(address);
        }
        Ok(found)
    }

    /// The paths of all files that there are or were: one that was removed may still be among them.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be read.
    pub(crate) fn paths(&self, searcher: &Searcher) -> Result<Vec<String>> {
        let unreadable = |err: std::io::Error| cannot("read")(err.into());
        let mut paths = Vec::new();
        for segment in searcher.segment_readers() {
            let words = segment.inverted_index(self.fields.path).map_err(cannot("read"))?;
            let mut all = words.terms().stream().map_err(unreadable)?;
            while all.advance() {
                paths.push(String::from_utf8_lossy(all.key()).into_owned());
            }
        }
        paths.sort_unstable();
        paths.dedup();
        Ok(paths)
    }

    /// The keys of all passages, whether a passage is in another language than English, and where it is.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be read.
    pub(crate) fn keys(&self) -> Result<Vec<(u64, bool, DocAddress)>> {
        self.searcher().search(&AllQuery, &Keys).map_err(cannot("read"))
    }

    /// A passage.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read.
    pub(crate) fn passage(&self, searcher: &Searcher, address: DocAddress) -> Result<StoredPassage> {
        self.data(searcher, address)
    }

    fn data<T: serde::de::DeserializeOwned>(&self, searcher: &Searcher, address: DocAddress) -> Result<T> {
        let document: TantivyDocument = searcher.doc(address).map_err(cannot("read"))?;
        let data =
            document.get_first(self.fields.data).and_then(|value| value.as_bytes()).unwrap_or_default();
        serde_json::from_slice(data)
            .map_err(|err| Error::unavailable("the index is damaged").with_source(err))
    }

    /// All passages of a file, in order.
    ///
    /// # Errors
    /// `Unavailable` when they cannot be read.
    pub(crate) fn passages_of(&self, path: &str) -> Result<Vec<StoredPassage>> {
        let query = BooleanQuery::new(vec![
            (Occur::Must, exactly(self.fields.path, path)),
            (Occur::MustNot, exactly(self.fields.file, "1")),
        ]);
        let searcher = self.searcher();
        let found = searcher.search(&query, &Keys).map_err(cannot("searched"))?;
        let mut passages: Vec<StoredPassage> = found
            .into_iter()
            .map(|(_, _, address)| self.passage(&searcher, address))
            .collect::<Result<_>>()?;
        passages.sort_by_key(|passage| passage.sequence);
        Ok(passages)
    }

    /// What is known of one file.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read.
    pub(crate) fn file(&self, path: &str) -> Result<Option<FileState>> {
        let query = BooleanQuery::new(vec![
            (Occur::Must, exactly(self.fields.path, path)),
            (Occur::Must, exactly(self.fields.file, "1")),
        ]);
        let searcher = self.searcher();
        let found =
            searcher.search(&query, &TopDocs::with_limit(1).order_by_score()).map_err(cannot("searched"))?;
        found.first().map(|(_, address)| self.data(&searcher, *address)).transpose()
    }

    /// What is known of all files.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read.
    pub(crate) fn files(&self) -> Result<Vec<FileState>> {
        self.files_that_are("1")
    }

    /// The files with sections that are not cut by what they say yet.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read.
    pub(crate) fn coarse(&self) -> Result<Vec<FileState>> {
        self.files_that_are(COARSE)
    }

    fn files_that_are(&self, what: &str) -> Result<Vec<FileState>> {
        let searcher = self.searcher();
        let found = searcher.search(&*exactly(self.fields.file, what), &Addresses).map_err(cannot("read"))?;
        found.into_iter().map(|address| self.data(&searcher, address)).collect()
    }

    /// The paths of the files that define a name, and of those that define one that has it as a part. Of more than so many passages
    /// that do either, the rest is not looked at.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be searched.
    pub(crate) fn defining(&self, name: &str, most: usize) -> Result<[BTreeSet<String>; 2]> {
        let name = name.to_lowercase();
        let anywhere = format!(".*{}.*", escape(&name));
        let part = RegexQuery::from_pattern(&anywhere, self.fields.symbol).map_err(cannot("searched"))?;
        let exact = exactly(self.fields.symbol, &name);
        let searcher = self.searcher();
        let paths = |query: &dyn Query| -> Result<BTreeSet<String>> {
            let found = searcher.search(query, &Addresses).map_err(cannot("searched"))?.into_iter();
            found.take(most).map(|address| Ok(self.passage(&searcher, address)?.path)).collect()
        };
        Ok([paths(&*exact)?, paths(&part)?])
    }

    /// How many passages there are in each language. What counts passages that are gone as well is counted anew.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be read.
    pub(crate) fn languages(&self) -> Result<Languages> {
        let languages = self.payload().languages;
        if languages.is_exact() {
            return Ok(languages);
        }
        let searcher = self.searcher();
        let all = searcher.search(&AllQuery, &Keys).map_err(cannot("read"))?;
        // One that cannot be read is none that is found.
        Ok(Languages::of(all.into_iter().filter_map(|(.., address)| self.passage(&searcher, address).ok())))
    }

    /// [`skynet_documents::Listing::cursor`] of what is committed.
    pub(crate) fn cursor(&self) -> Option<String> {
        self.payload().cursor
    }

    /// Without one, the languages are those that are written from now on, and all documents are listed again.
    fn payload(&self) -> Payload {
        let payload = self.index.load_metas().ok().and_then(|metas| metas.payload);
        payload.and_then(|payload| serde_json::from_str(&payload).ok()).unwrap_or_default()
    }

    /// How many files and passages there are.
    ///
    /// # Errors
    /// `Unavailable` when the index cannot be read.
    pub(crate) fn count(&self) -> Result<(u64, u64)> {
        let searcher = self.searcher();
        let files = searcher.search(&*exactly(self.fields.file, "1"), &Count).map_err(cannot("read"))? as u64;
        Ok((files, searcher.num_docs().saturating_sub(files)))
    }
}

impl Writing {
    /// Puts a file in the place of the one that was there.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub(crate) fn put(&mut self, file: &FileState, passages: &[StoredPassage]) -> Result<()> {
        self.remove(&file.path);
        let fields = self.lexical.fields;
        let mut document = TantivyDocument::new();
        document.add_text(fields.path, &file.path);
        document.add_text(fields.file, "1");
        if file.is_coarse {
            document.add_text(fields.file, COARSE);
        }
        document.add_bytes(fields.data, &write(file)?);
        self.writer.add_document(document).map_err(cannot("written"))?;
        for passage in passages {
            let mut document = TantivyDocument::new();
            document.add_text(fields.path, &file.path);
            document.add_u64(fields.key, passage.key);
            document.add_u64(fields.is_foreign, passage.is_foreign().into());
            document.add_bytes(fields.data, &write(passage)?);
            // Headings count twice where the passage begins with them.
            let Passage { chain, signature, text, .. } = &passage.passage;
            let text = format!("{}\n{}\n{text}", chain.join("\n"), signature.as_deref().unwrap_or_default());
            document.add_text(fields.text, self.words.joined(&text, &passage.words));
            let name = format!("{} {}", file.path, passage.passage.defines.join(" "));
            document.add_text(fields.name, self.words.joined(&name, &passage.words));
            for symbol in &passage.passage.defines {
                document.add_text(fields.symbol, symbol.to_lowercase());
            }
            self.writer.add_document(document).map_err(cannot("written"))?;
        }
        Ok(())
    }

    /// Takes a file away.
    pub(crate) fn remove(&mut self, path: &str) {
        self.writer.delete_term(Term::from_field_text(self.lexical.fields.path, path));
    }

    /// Makes everything since the last commit durable and visible at once.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses; then the last commit is what is there.
    pub(crate) fn commit(&mut self, languages: &Languages, cursor: Option<&str>) -> Result<()> {
        let payload = Payload { languages: languages.clone(), cursor: cursor.map(str::to_owned) };
        let mut prepared = self.writer.prepare_commit().map_err(cannot("written"))?;
        prepared.set_payload(&String::from_utf8(write(&payload)?).unwrap_or_default());
        prepared.commit().map_err(cannot("written"))?;
        self.lexical.reader.reload().map_err(cannot("read"))
    }

    /// Waits for what tidies up.
    ///
    /// # Errors
    /// `Unavailable` when that failed.
    pub(crate) fn finish(self) -> Result<()> {
        self.writer.wait_merging_threads().map_err(cannot("written"))
    }
}

fn write(data: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(data)
        .map_err(|err| Error::internal("an entry of the index cannot be written").with_source(err))
}

/// The words of a question in any of these languages, as an index has them.
pub(crate) fn terms(question: &str, languages: &[String]) -> Vec<String> {
    let mut words = Words::default();
    let mut terms: Vec<String> = Vec::new();
    for language in languages {
        for token in words.of_question(question, language) {
            if !terms.contains(&token.text) {
                terms.push(token.text);
            }
        }
    }
    terms
}

fn exactly(field: Field, text: &str) -> Box<dyn Query> {
    Box::new(TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::Basic))
}

/// A name within an expression of tantivy, which knows no `\Q`, and for which some signs mean something behind a `\`.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_alphanumeric() || letter == '_' {
            escaped.push(letter);
        } else {
            escaped.push_str(&format!("\\x{{{:x}}}", u32::from(letter)));
        }
    }
    escaped
}

fn cannot(what: &str) -> impl Fn(tantivy::TantivyError) -> Error {
    let message = format!("the index of the collection cannot be {what}");
    move |err| Error::unavailable(message.clone()).with_source(err)
}
