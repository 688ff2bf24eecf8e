//! What is asked: keys, values and the five verbs.

use super::line::{Call, Failure, Line, UNIMPLEMENTED};
use base::Rng;
use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    Compare, PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
};

/// What one operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Verb {
    /// Write one key
    Put,
    /// Read one key
    Get,
    /// Read up to --limit keys from one key on
    Scan,
    /// Read or write one key, see --read-percent
    Mixed,
    /// Compare one key's version, then write it, or read and write it
    Txn,
}

/// Keys `prefix ∥ number`, the number in decimal, padded to the size asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    /// Prefixes; key number n has prefix n mod their count, so that several ranges share the load.
    pub prefixes: Vec<String>,
    /// Bytes of the number.
    pub size: usize,
    /// How many different keys.
    pub space: u64,
    /// One after the other instead of at random.
    pub sequential: bool,
}

impl Keys {
    /// Key number `n` of the space.
    pub fn key(&self, n: u64) -> Bytes {
        let prefix = &self.prefixes[(n % self.prefixes.len() as u64) as usize];
        Bytes::from(format!("{prefix}{n:0width$}", width = self.size))
    }

    /// The end of the span of all keys with the same prefix as key number `n`.
    fn end(&self, n: u64) -> Bytes {
        let mut end = self.prefixes[(n % self.prefixes.len() as u64) as usize].clone().into_bytes();
        // ':' is the byte after '9', so it ends all numbers.
        end.push(b':');
        Bytes::from(end)
    }
}

/// A load, shared by all clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// What one operation is.
    pub verb: Verb,
    /// Which keys.
    pub keys: Keys,
    /// The value of every put.
    pub value: Bytes,
    /// Keys of one scan.
    pub limit: i64,
    /// Read this node's own state.
    pub serializable: bool,
    /// Reads among a hundred mixed operations.
    pub read_percent: u64,
}

impl Load {
    /// A value that does not compress, the same in every run.
    pub fn value(size: usize) -> Bytes {
        let mut rng = Rng::new(size as u64);
        (0..size).map(|_| rng.next_u64() as u8).collect()
    }

    /// Do one operation on key number `n`. `Ok(false)` is a read that found nothing.
    pub async fn act(&self, line: &mut Line, n: u64, rng: &mut Rng) -> Result<bool, Failure> {
        match self.verb {
            Verb::Put => self.put(line, n).await,
            Verb::Get => self.get(line, n).await,
            Verb::Scan => self.scan(line, n).await,
            Verb::Mixed if rng.below(100) < self.read_percent => self.get(line, n).await,
            Verb::Mixed => self.put(line, n).await,
            Verb::Txn => self.txn(line, n).await,
        }
    }

    async fn put(&self, line: &mut Line, n: u64) -> Result<bool, Failure> {
        let _: PutResponse = line.call(Call::Put, &self.put_request(n)).await?;
        Ok(true)
    }

    fn put_request(&self, n: u64) -> PutRequest {
        PutRequest { key: self.keys.key(n), value: self.value.clone(), ..PutRequest::default() }
    }

    async fn get(&self, line: &mut Line, n: u64) -> Result<bool, Failure> {
        let request =
            RangeRequest { key: self.keys.key(n), serializable: self.serializable, ..RangeRequest::default() };
        let answer: RangeResponse = line.call(Call::Range, &request).await?;
        Ok(!answer.kvs.is_empty())
    }

    async fn scan(&self, line: &mut Line, n: u64) -> Result<bool, Failure> {
        let request = RangeRequest {
            key: self.keys.key(n),
            range_end: self.keys.end(n),
            limit: self.limit,
            serializable: self.serializable,
            ..RangeRequest::default()
        };
        let answer: RangeResponse = line.call(Call::Range, &request).await?;
        Ok(!answer.kvs.is_empty())
    }

    async fn txn(&self, line: &mut Line, n: u64) -> Result<bool, Failure> {
        let compare = Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Version as i32,
            key: self.keys.key(n),
            target_union: Some(TargetUnion::Version(0)),
            ..Compare::default()
        };
        let put = RequestOp { request: Some(Request::RequestPut(self.put_request(n))) };
        let get = RangeRequest { key: self.keys.key(n), ..RangeRequest::default() };
        let get = RequestOp { request: Some(Request::RequestRange(get)) };
        let request = TxnRequest { compare: vec![compare], success: vec![put.clone()], failure: vec![get, put] };
        let _: TxnResponse = line.call(Call::Txn, &request).await?;
        Ok(true)
    }

    /// Write keys number `from` to `to`, many to a transaction; where that is not served, one by one.
    pub async fn prefill(&self, line: &mut Line, from: u64, to: u64) -> Result<(), Failure> {
        let puts = (from..to).map(|n| RequestOp { request: Some(Request::RequestPut(self.put_request(n))) });
        let request = TxnRequest { success: puts.collect(), ..TxnRequest::default() };
        match line.call::<_, TxnResponse>(Call::Txn, &request).await {
            Err(Failure::Status(UNIMPLEMENTED, _)) => {
                for n in from..to {
                    self.put(line, n).await?;
                }
                Ok(())
            }
            other => other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_size_and_spread_over_the_prefixes() {
        let keys = Keys { prefixes: vec!["a/".into(), "h/".into()], size: 8, space: 10, sequential: false };
        assert_eq!(keys.key(3), "h/00000003");
        assert_eq!(keys.key(4), "a/00000004");
        assert!(keys.key(4) < keys.end(4) && keys.end(4) == "a/:");
        assert!(keys.key(99_999_998) < keys.end(4));
    }

    #[test]
    fn values_are_reproducible_and_not_constant() {
        assert_eq!(Load::value(256), Load::value(256));
        assert_ne!(Load::value(256)[..128], Load::value(256)[128..]);
    }
}
