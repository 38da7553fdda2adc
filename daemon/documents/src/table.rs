//! Tables, cut between rows; each passage says what its columns are.

use crate::{document::Passage, lines::Lines};

/// Bytes of a passage.
const LONGEST: usize = 1200;

/// Bytes of a header that is repeated; a longer one is data.
const LONGEST_HEADER: usize = 500;

/// Bytes of a row that are found.
const LONGEST_ROW: usize = 4000;

/// Cuts a table; columns are separated by commas, or by what the first line has more of.
pub(crate) fn cut(text: &str) -> Vec<Passage> {
    let first = text.lines().next().unwrap_or_default();
    let count = |separator: u8| first.bytes().filter(|byte| *byte == separator).count();
    let separator = [b',', b'\t', b';'].into_iter().max_by_key(|separator| count(*separator)).unwrap_or(b',');
    let lines = Lines::new(text);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .has_headers(false)
        .from_reader(text.as_bytes());
    let mut starts = Vec::new();
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        starts.extend(record.position().and_then(|position| usize::try_from(position.byte()).ok()));
    }
    starts.push(text.len());
    let row = |number: usize| text.get(*starts.get(number)?..*starts.get(number + 1)?);
    let header = row(0).map(str::trim_end).filter(|header| header.len() <= LONGEST_HEADER);
    let rows = starts.len().saturating_sub(1);
    let mut passages = Vec::new();
    let mut number = usize::from(header.is_some());
    while number < rows {
        let first = number;
        let mut text = header.map(|header| format!("{header}\n")).unwrap_or_default();
        while let Some(row) = row(number)
            && (number == first || text.len() + row.len() <= LONGEST)
        {
            // A row that is longer than that is data of a program.
            text.push_str(row.get(..row.floor_char_boundary(LONGEST_ROW)).unwrap_or(row));
            number += 1;
        }
        let line = |number: usize| starts.get(number).map_or(1, |start| lines.of(*start));
        passages.push(Passage {
            text: text.trim_end().to_owned(),
            first_line: line(first),
            last_line: line(number).saturating_sub(1).max(line(first)),
            ..Passage::default()
        });
    }
    passages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_passage_names_the_columns() {
        let rows: String =
            (0..100).map(|row| format!("host{row},\"a note\nof two lines\",{row}\n")).collect();
        let passages = cut(&format!("name,note,load\n{rows}"));
        assert!(passages.len() > 1);
        assert!(passages.iter().all(|passage| passage.text.starts_with("name,note,load\nhost")));
        assert_eq!((passages[0].first_line, passages.last().unwrap().last_line), (2, 201));
    }
}
