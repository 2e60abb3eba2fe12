//! Reading what was written, from another process too.

use std::path::Path;
use std::time::Duration;

use doorward_types::id::TraceId;
use doorward_types::time::UnixTime;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use uuid::Uuid;

use crate::hop::Hop;

/// Most hops of one trace that are shown.
const MOST: u32 = 2000;

/// `traces.db` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What SQLite says.
    #[error("traces.db cannot be read: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// What an id leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// One trace: its hops, oldest first. `decision` is the hop that was asked for, if a decision was.
    Trace {
        /// Its id.
        trace: TraceId,
        /// Its hops.
        hops: Vec<Hop>,
        /// The decision that was asked for.
        decision: Option<Uuid>,
    },
    /// A name that a client used for several of ours.
    Several(Vec<Summary>),
    /// Nothing is known by it.
    Nothing,
}

/// A trace in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its id.
    pub trace: TraceId,
    /// Its first hop.
    pub begun: UnixTime,
    /// Its last hop.
    pub last: UnixTime,
    /// How many hops it has.
    pub hops: u32,
}

/// An open `traces.db`.
#[derive(Debug)]
pub struct Reader(Connection);

impl Reader {
    /// Opens the file in `folder`. `None` if there is none: then nothing was recorded.
    pub fn open(folder: &Path) -> Result<Option<Self>, ReadError> {
        let path = folder.join(crate::FILE);
        if !path.exists() {
            return Ok(None);
        }
        // Not read-only: the first reader of a file in WAL mode makes its index.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(Some(Self(connection)))
    }

    /// What `id` leads to: a trace id, the decision id of a refused call, the trace id of a client's `traceparent`, or the id
    /// of a token family (or of a token that has none).
    pub fn find(&self, id: &str) -> Result<Found, ReadError> {
        let id = id.trim().to_ascii_lowercase();
        if let Ok(trace) = id.parse::<TraceId>() {
            let hops = self.hops(trace)?;
            if !hops.is_empty() {
                return Ok(trace_of(trace, hops, None));
            }
            let named = self.by("parent", trace.as_bytes())?;
            if !named.is_empty() {
                return self.only_or_all(&named);
            }
        }
        let Ok(uuid) = id.parse::<Uuid>() else {
            return Ok(Found::Nothing);
        };
        if let Some(trace) = self.by("decision", uuid.as_bytes())?.first().copied() {
            return Ok(trace_of(trace, self.hops(trace)?, Some(uuid)));
        }
        let issued = self.by("family", uuid.as_bytes())?;
        if issued.is_empty() {
            return Ok(Found::Nothing);
        }
        self.only_or_all(&issued)
    }

    /// The newest traces, newest first.
    pub fn last(&self, count: u32) -> Result<Vec<Summary>, ReadError> {
        let mut select = self
            .0
            .prepare("SELECT trace FROM hops GROUP BY trace ORDER BY max(id) DESC LIMIT ?1")?;
        let traces = select
            .query_map([count], |row| row.get::<_, [u8; 16]>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        let traces: Vec<_> = traces.into_iter().filter_map(TraceId::from_bytes).collect();
        self.summaries(&traces)
    }

    /// The hops of a trace, oldest first.
    pub fn hops(&self, trace: TraceId) -> Result<Vec<Hop>, ReadError> {
        let mut select = self
            .0
            .prepare("SELECT hop FROM hops WHERE trace = ?1 ORDER BY at, id LIMIT ?2")?;
        let texts = select
            .query_map((trace.as_bytes().as_slice(), MOST), |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        // A hop of another version is not worth failing for.
        Ok(texts
            .iter()
            .filter_map(|text| serde_json::from_str(text).ok())
            .collect())
    }

    fn by(&self, column: &'static str, id: &[u8; 16]) -> Result<Vec<TraceId>, ReadError> {
        let sql = format!(
            "SELECT trace FROM hops WHERE {column} = ?1 GROUP BY trace ORDER BY max(id) DESC LIMIT 100"
        );
        let mut select = self.0.prepare(&sql)?;
        let traces = select
            .query_map([id.as_slice()], |row| row.get::<_, [u8; 16]>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(traces.into_iter().filter_map(TraceId::from_bytes).collect())
    }

    fn only_or_all(&self, traces: &[TraceId]) -> Result<Found, ReadError> {
        match traces {
            [] => Ok(Found::Nothing),
            [only] => Ok(trace_of(*only, self.hops(*only)?, None)),
            several => Ok(Found::Several(self.summaries(several)?)),
        }
    }

    fn summaries(&self, traces: &[TraceId]) -> Result<Vec<Summary>, ReadError> {
        let mut select = self
            .0
            .prepare("SELECT min(at), max(at), count(*) FROM hops WHERE trace = ?1")?;
        let mut out = Vec::with_capacity(traces.len());
        for trace in traces {
            out.push(select.query_row([trace.as_bytes().as_slice()], |row| {
                Ok(Summary {
                    trace: *trace,
                    begun: UnixTime::from_millis(row.get(0)?),
                    last: UnixTime::from_millis(row.get(1)?),
                    hops: row.get(2)?,
                })
            })?);
        }
        Ok(out)
    }
}

fn trace_of(trace: TraceId, hops: Vec<Hop>, decision: Option<Uuid>) -> Found {
    Found::Trace {
        trace,
        hops,
        decision,
    }
}
