//! Tables, cut between rows; each passage says what its columns are.

use crate::{document::Passage, lines::Lines, prose};

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
    let above = header.map(|header| format!("{header}\n")).unwrap_or_default();
    let repeated_lines = u32::try_from(above.matches('\n').count()).unwrap_or(u32::MAX);
    let rows = starts.len().saturating_sub(1);
    let mut passages = Vec::new();
    let mut number = usize::from(header.is_some());
    while number < rows {
        let first = number;
        let mut length = above.len();
        while let Some(row) = row(number)
            && (number == first || length + row.len() <= LONGEST)
        {
            length += row.len();
            number += 1;
        }
        let (Some(start), Some(end)) = (starts.get(first), starts.get(number.max(first + 1))) else { break };
        number = number.max(first + 1);
        let Some(range) = prose::without_blank_ends(text, *start..*end) else { continue };
        let (first_line, last_line) = (lines.of(range.start), lines.of(range.end - 1));
        let body = text.get(range).unwrap_or_default();
        // A row that is longer than that is data of a program.
        let body = body.get(..body.floor_char_boundary(LONGEST_ROW)).unwrap_or(body);
        passages.push(Passage {
            text: format!("{above}{body}"),
            first_line,
            last_line,
            repeated_lines,
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

    #[test]
    fn a_passage_says_which_of_its_lines_stand_further_up() {
        for text in ["name,load\n\nalpha,1\nbeta,2", "name,load\r\n\r\nalpha,1\r\nbeta,2\r\n"] {
            let passages = cut(text);
            let [passage] = passages.as_slice() else { panic!("{passages:?}") };
            let told = (passage.repeated_lines, passage.first_line, passage.last_line);
            assert_eq!(told, (1, 3, 4), "{passage:?}");
            assert_eq!(passage.text.lines().nth(1), Some("alpha,1"), "{passage:?}");
        }
        let wide = format!("{}\nalpha\n", "column,".repeat(100));
        assert_eq!(cut(&wide)[0].repeated_lines, 0, "what is no header is not repeated");
    }
}
