//! Every option of RocksDB that we set, and why.

use crate::filter::Factory;
use engine::keys;
use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, LruCacheOptions, Options, SliceTransform,
};

/// The family that every RocksDB has; nothing is in it.
pub(crate) const UNUSED: &str = "default";
/// The column family of `Cf::Log`.
pub(crate) const LOG: &str = "log";
/// The column family of `Cf::Data`.
pub(crate) const DATA: &str = "data";

/// Memtables of the data family that are flushed as one. Keys come in no order, so an insert walks through a skip list
/// that has long left the caches: the shorter the list, the cheaper. A scan looks into each; a read of one key sees only the
/// filters of those that do not have it.
const DATA_PARTS: usize = 16;
/// On a disk that is too small for memtables of the usual size.
const FEW_PARTS: usize = 8;
/// So many times of them may wait to be flushed. At a start each that was not becomes a file of level 0.
const WAITING: usize = 3;
/// A memtable's filter of names, as a part of the memtable: some tens of bits for a record of the usual size.
const FILTER: f64 = 0.02;
/// RocksDB makes no memtable smaller than this.
const SMALLEST_PART: usize = 64 << 10;

/// Levels of the data family: RocksDB's own number.
const LEVELS: usize = 7;

/// What an operator may choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Bytes for blocks of files, their indexes and filters included.
    pub cache_bytes: usize,
    /// Bytes of one memtable of the log family; three may exist. Smaller on a small disk.
    pub log_memtable_bytes: usize,
    /// Bytes of the data family that are flushed together; three times of it may be in memtables. Smaller on a small disk.
    pub data_memtable_bytes: usize,
    /// Files that RocksDB may keep open.
    pub open_files: i32,
    /// Threads for flushes and compactions.
    pub jobs: i32,
    /// Bytes of the file system below which all but small writes are refused; clients' writes below four times of it.
    /// `None`: a twentieth of the file system, at most 256 MiB.
    pub reserve: Option<u64>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cache_bytes: 128 << 20,
            log_memtable_bytes: 64 << 20,
            data_memtable_bytes: 32 << 20,
            open_files: 500,
            jobs: 2,
            reserve: None,
        }
    }
}

/// Memory that all options share, and sizes that suit the disk.
pub(crate) struct Tables {
    cache: Cache,
    log_memtable: usize,
    data_memtable: usize,
    /// Bytes of the file system.
    disk: u64,
}

impl Tables {
    pub(crate) fn new(settings: &Settings, disk: u64) -> Tables {
        let mut cache = LruCacheOptions::default();
        cache.set_capacity(settings.cache_bytes);
        // RocksDB allocates a WAL ahead, a little more than a memtable: on a small disk both must be small.
        let most = usize::try_from(disk / 128).unwrap_or(usize::MAX).max(1 << 20);
        Tables {
            cache: Cache::new_lru_cache_opts(&cache),
            log_memtable: settings.log_memtable_bytes.min(most),
            data_memtable: settings.data_memtable_bytes.min(most),
            disk,
        }
    }

    /// What concerns both families: durability, files, threads.
    pub(crate) fn database(&self, settings: &Settings, fresh: bool) -> Options {
        let mut o = Options::default();
        o.create_if_missing(fresh);
        o.create_missing_column_families(fresh);
        o.set_error_if_exists(fresh);
        // A torn tail is what a crash leaves; anything else is an error. The default stops quietly at the first bad record.
        o.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        // The manifest knows which WALs were synced and how long they are: a missing or cut one is an error.
        o.set_track_and_verify_wals_in_manifest(true);
        o.set_paranoid_checks(true);
        o.set_max_open_files(settings.open_files);
        o.set_max_background_jobs(settings.jobs);
        // Old WALs stay until both families are flushed: the slower family must not keep them for ever.
        o.set_max_total_wal_size(2 * (self.log_memtable + self.data_memtable) as u64);
        // Flushes and compactions hand their pages to the disk bit by bit, so that they do not hold up our fsync.
        o.set_bytes_per_sync(1 << 20);
        o.set_avoid_unnecessary_blocking_io(true);
        o.set_skip_stats_update_on_db_open(true);
        o.set_manifest_preallocation_size(64 << 10);
        o.set_log_level(LogLevel::Warn);
        o.set_keep_log_file_num(4);
        o.set_max_log_file_size(4 << 20);
        o.set_stats_dump_period_sec(0);
        o.set_stats_persist_period_sec(0);
        o
    }

    /// After a flush that met a full disk, RocksDB writes on only when as much is free as the largest memtable takes, of
    /// whichever family: with its default of 64 MiB a small disk would never be written to again. The same size decides
    /// how far a WAL is allocated ahead, up to the bounds in `database`.
    pub(crate) fn unused(&self) -> Options {
        let mut o = Options::default();
        o.set_write_buffer_size((64 << 20).min(2 * (self.log_memtable + self.data_memtable)));
        o
    }

    /// Entries and hard states. Most entries are deleted again while they are in the memtable, so it is large, and a few
    /// files in level 0 do no harm because nothing searches for keys that are not there: no bloom filter.
    pub(crate) fn log(&self, _: &Settings) -> Options {
        let mut o = Options::default();
        self.bound_compactions(&mut o);
        o.set_write_buffer_size(self.log_memtable);
        o.set_max_write_buffer_number(3);
        o.set_level_zero_file_num_compaction_trigger(8);
        o.set_compression_type(DBCompressionType::Lz4);
        o.set_block_based_table_factory(&self.blocks(None));
        o
    }

    /// All state. Reads of single records and of one key's versions profit from filters.
    pub(crate) fn data(&self, settings: &Settings, filter: Factory) -> Options {
        let mut o = self.staged();
        self.bound_compactions(&mut o);
        let small = self.data_memtable < settings.data_memtable_bytes;
        let most = if small { FEW_PARTS } else { DATA_PARTS };
        let parts = (self.data_memtable / SMALLEST_PART).clamp(1, most);
        o.set_write_buffer_size(self.data_memtable / parts);
        o.set_min_write_buffer_number_to_merge(parts as i32);
        let waiting = (WAITING * parts) as i32;
        o.set_max_write_buffer_number(waiting);
        // RocksDB's own bounds, unless a start alone would come near them: nobody could write until a compaction is done.
        o.set_level_zero_slowdown_writes_trigger(20.max(waiting + 4));
        o.set_level_zero_stop_writes_trigger(36.max(waiting + 12));
        o.set_memtable_prefix_bloom_ratio(FILTER);
        // What is flushed is soon compacted: only then is it worth the CPU.
        let mut compression = [DBCompressionType::Lz4; LEVELS];
        compression[0] = DBCompressionType::None;
        o.set_num_levels(LEVELS as i32);
        o.set_compression_per_level(&compression);
        o.set_compaction_filter_factory(filter);
        // Superseded versions go also where nothing is written any more.
        o.set_periodic_compaction_seconds(24 * 60 * 60);
        o
    }

    /// A compaction writes its output before its input can go. What may run at once must fit between the two bounds of
    /// [`crate::room`]; on a disk of 8 GiB and more these are RocksDB's own values.
    fn bound_compactions(&self, o: &mut Options) {
        let part = |of: u64, least: u64, most: u64| (self.disk / of).clamp(least, most);
        o.set_target_file_size_base(part(64, 1 << 20, 64 << 20));
        o.set_max_bytes_for_level_base(part(32, 4 << 20, 256 << 20));
        o.set_max_compaction_bytes(part(16, 4 << 20, 25 * (64 << 20)));
    }

    /// Files of the data family that are written beside it.
    pub(crate) fn staged(&self) -> Options {
        let mut o = Options::default();
        o.set_compression_type(DBCompressionType::Lz4);
        o.set_level_compaction_dynamic_level_bytes(true);
        // Files remember its name: whoever changes what it says must give it another.
        o.set_prefix_extractor(SliceTransform::create(
            "flotilla.name.1",
            |raw| keys::name(raw).unwrap_or(raw),
            Some(|raw| keys::name(raw).is_some()),
        ));
        o.set_block_based_table_factory(&self.blocks(Some(10.0)));
        o
    }

    fn blocks(&self, bloom_bits: Option<f64>) -> BlockBasedOptions {
        let mut b = BlockBasedOptions::default();
        b.set_block_cache(&self.cache);
        b.set_block_size(16 << 10);
        // Footers and indexes are checksummed too.
        b.set_format_version(6);
        // Indexes and filters count against the cache, so that memory has one bound; those of small files
        // in level 0 stay.
        b.set_cache_index_and_filter_blocks(true);
        b.set_cache_index_and_filter_blocks_with_high_priority(true);
        b.set_pin_l0_filter_and_index_blocks_in_cache(true);
        if let Some(bits) = bloom_bits {
            b.set_bloom_filter(bits, false);
            b.set_optimize_filters_for_memory(true);
        }
        b
    }
}
