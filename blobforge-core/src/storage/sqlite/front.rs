//! How the front of a lane stands in its row.

use rusqlite::{ToSql, types::ToSqlOutput};

use super::columns::Columns;
use crate::{
    JobId, Priority, Timestamp,
    storage::rows::{Front, MAX_FRONT, Place},
};

/// What a place takes in a front: its priority, its time and its number, the most significant byte of each first.
const PLACE_BYTES: usize = 1 + 8 + 8;

/// The places of a front as they are kept.
pub(super) struct Bytes {
    places: [[u8; PLACE_BYTES]; MAX_FRONT],
    number: usize,
}

impl Bytes {
    pub(super) fn of(front: &Front) -> Self {
        let mut bytes = Self { places: [[0; PLACE_BYTES]; MAX_FRONT], number: front.places().len() };
        for (bytes, place) in bytes.places.iter_mut().zip(front.places()) {
            bytes[0] = place.priority.into();
            bytes[1..9].copy_from_slice(&place.ready_at.as_millis().to_be_bytes());
            bytes[9..].copy_from_slice(&place.id.get().to_be_bytes());
        }
        bytes
    }
}

impl ToSql for Bytes {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.places[..self.number.min(MAX_FRONT)].as_flattened().into())
    }
}

/// Reads `front, behind`.
pub(super) fn of(c: &mut Columns<'_, '_>) -> rusqlite::Result<Front> {
    let places = c.blob(places_of)?;
    Ok(Front::new(places, c.time_or_null()?))
}

fn places_of(bytes: &[u8]) -> Result<Vec<Place>, String> {
    let (chunks, rest) = bytes.as_chunks::<PLACE_BYTES>();
    if !rest.is_empty() {
        return Err(format!("a front of {} bytes is cut off", bytes.len()));
    }
    let mut places = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        places.push(place_of(chunk)?);
    }
    Ok(places)
}

fn place_of(bytes: &[u8; PLACE_BYTES]) -> Result<Place, String> {
    let [priority, t0, t1, t2, t3, t4, t5, t6, t7, id @ ..] = *bytes;
    Ok(Place {
        priority: Priority::try_from(priority).map_err(|error| error.to_string())?,
        ready_at: Timestamp::from_millis(i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
        id: JobId::new(i64::from_be_bytes(id)),
    })
}
