//! The engine's filter rule, hung into RocksDB's compactions.

use base::Revision;
use engine::filter::Filter;
use rocksdb::compaction_filter::{CompactionFilter, Decision};
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a filter for each compaction, with the bound as it is when the compaction starts.
pub(crate) struct Factory {
    bound: Arc<AtomicU64>,
}

impl Factory {
    pub(crate) fn new(bound: Arc<AtomicU64>) -> Factory {
        Factory { bound }
    }
}

impl CompactionFilterFactory for Factory {
    type Filter = Pass;
    fn create(&mut self, _: CompactionFilterContext) -> Pass {
        Pass { filter: Filter::new(Revision(self.bound.load(Ordering::Acquire))) }
    }
    fn name(&self) -> &CStr {
        c"flotilla.superseded-versions"
    }
}

/// One compaction's pass.
pub(crate) struct Pass {
    filter: Filter,
}

impl CompactionFilter for Pass {
    fn filter(&mut self, _level: u32, key: &[u8], _value: &[u8]) -> Decision {
        if self.filter.drops(key) { Decision::Remove } else { Decision::Keep }
    }
    fn name(&self) -> &CStr {
        c"flotilla.superseded-versions"
    }
}
