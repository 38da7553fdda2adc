//! What an index of words is asked for besides scores: which passages there are, and where.

use tantivy::{
    DocAddress, DocId, Score, SegmentReader,
    collector::{Collector, SegmentCollector},
    columnar::Column,
};

/// Collects key, language and place of every passage; files have no key.
pub(crate) struct Keys;

pub(crate) struct SegmentKeys {
    keys: Column<u64>,
    foreign: Column<u64>,
    segment: u32,
    found: Vec<(u64, bool, DocAddress)>,
}

impl Collector for Keys {
    type Fruit = Vec<(u64, bool, DocAddress)>;
    type Child = SegmentKeys;

    fn for_segment(&self, segment: u32, reader: &SegmentReader) -> tantivy::Result<SegmentKeys> {
        let (keys, foreign) = (reader.fast_fields().u64("key")?, reader.fast_fields().u64("is_foreign")?);
        Ok(SegmentKeys { keys, foreign, segment, found: Vec::new() })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, found: Vec<Self::Fruit>) -> tantivy::Result<Self::Fruit> {
        Ok(found.concat())
    }
}

impl SegmentCollector for SegmentKeys {
    type Fruit = Vec<(u64, bool, DocAddress)>;

    fn collect(&mut self, document: DocId, _: Score) {
        if let Some(key) = self.keys.first(document) {
            let is_foreign = self.foreign.first(document) == Some(1);
            self.found.push((key, is_foreign, DocAddress::new(self.segment, document)));
        }
    }

    fn harvest(self) -> Self::Fruit {
        self.found
    }
}

/// Collects where documents are.
pub(crate) struct Addresses;

pub(crate) struct SegmentAddresses(u32, Vec<DocAddress>);

impl Collector for Addresses {
    type Fruit = Vec<DocAddress>;
    type Child = SegmentAddresses;

    fn for_segment(&self, segment: u32, _: &SegmentReader) -> tantivy::Result<SegmentAddresses> {
        Ok(SegmentAddresses(segment, Vec::new()))
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, found: Vec<Self::Fruit>) -> tantivy::Result<Self::Fruit> {
        Ok(found.concat())
    }
}

impl SegmentCollector for SegmentAddresses {
    type Fruit = Vec<DocAddress>;

    fn collect(&mut self, document: DocId, _: Score) {
        self.1.push(DocAddress::new(self.0, document));
    }

    fn harvest(self) -> Self::Fruit {
        self.1
    }
}
