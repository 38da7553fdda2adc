//! HTML, read as Markdown. What a page calls itself is no part of its text, and stands above all of it.

use crate::{
    document::{Document, Passage},
    markdown, prose,
};
use htmd::{
    Element, HtmlToMarkdown,
    element_handler::{HandlerResult, Handlers},
};
use std::sync::{Arc, Mutex, PoisonError};

/// What a page says.
pub(crate) struct Page {
    pub(crate) markdown: String,
    /// Its `title` (HTML Standard, section 4.2.2), if it has one.
    pub(crate) title: Option<String>,
}

/// Reads a page.
///
/// # Errors
/// In words, why it cannot be read.
pub(crate) fn read(html: &str) -> Result<Page, String> {
    let title: Arc<Mutex<Option<String>>> = Arc::default();
    let told = title.clone();
    let take_title = move |handlers: &dyn Handlers, element: Element<'_>| -> Option<HandlerResult> {
        let text = markdown::plain(&handlers.walk_children(element.node).content);
        if !text.is_empty() {
            // The first is that of the page.
            told.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
        }
        None
    };
    let converter = HtmlToMarkdown::builder()
        .skip_tags(vec!["script", "style", "svg", "nav"])
        .add_handler(vec!["title"], take_title)
        .build();
    let markdown = converter.convert(html).map_err(|err| format!("its text cannot be read: {err}"))?;
    let title = title.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(Page { markdown, title })
}

/// Puts the title of a page above all that it says, unless that begins with it. A page that says nothing else is found by it.
pub(crate) fn put_title(document: &mut Document, title: String) {
    let lacks_it = |passage: &&mut Passage| passage.chain.first() != Some(&title);
    document.passages.iter_mut().filter(lacks_it).for_each(|passage| passage.chain.insert(0, title.clone()));
    if document.passages.is_empty() {
        document.passages = prose::cut(&title, &[], 1);
    }
    document.title = Some(title);
}

#[cfg(test)]
mod tests {
    use crate::{
        document::{Document, Reading},
        work::Reader,
    };

    fn read(html: &str) -> Document {
        match Reader::new().unwrap().read("page.html", html.as_bytes()) {
            Reading::Document(document) => document,
            Reading::Skipped(why) => panic!("{why}"),
        }
    }

    fn chains(document: &Document) -> Vec<String> {
        document.passages.iter().map(|passage| passage.chain.join(" > ")).collect()
    }

    #[test]
    fn a_page_is_called_as_it_calls_itself() {
        let long = "<p>The coolant pump is checked weekly.</p>".repeat(30);
        let document = read(&format!(
            "<html><head><title>\n  1. Plant_care &amp;\n more </title></head><body><p>Welcome to all who read.</p><h1>Reactor</h1>{long}<h2>Pumps</h2>{long}</body></html>"
        ));
        assert_eq!(document.title.as_deref(), Some("1. Plant_care & more"));
        let chains = chains(&document);
        assert_eq!(chains.first().unwrap(), "1. Plant_care & more");
        assert_eq!(chains[1], "1. Plant_care & more > Reactor");
        assert_eq!(chains.last().unwrap(), "1. Plant_care & more > Reactor > Pumps");
        assert!(document.passages.iter().all(|passage| !passage.text.contains("Plant")), "it is no text");
        assert_eq!(document.outline[0].name, "Reactor");
    }

    #[test]
    fn a_title_is_not_said_twice_and_may_be_all_there_is() {
        let document = read("<title>Reactor</title><h1>Reactor</h1><p>The pump is checked weekly.</p>");
        assert_eq!(chains(&document), ["Reactor"]);
        let document = read("<h1>Pumps</h1><p>The pump is checked weekly.</p><svg><title>Icon</title></svg>");
        assert_eq!((document.title.as_deref(), chains(&document)), (Some("Pumps"), vec!["Pumps".to_owned()]));
        let document = read("<html><head><title>Loading the plant</title></head><body></body></html>");
        assert_eq!(document.passages.len(), 1);
        assert_eq!(document.passages[0].text, "Loading the plant");
    }
}
