//! How the front of a lane stands in its row.

use super::columns::Columns;
use crate::{
    JobId, Priority, Timestamp,
    storage::rows::{Front, Place},
};

/// What a place takes in a front: its priority, its time and its number, the most significant byte of each first.
const PLACE_BYTES: usize = 1 + 8 + 8;

/// The places of a front as they are kept.
pub(super) fn bytes(front: &Front) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(front.places().len() * PLACE_BYTES);
    for place in front.places() {
        bytes.push(place.priority.into());
        bytes.extend(place.ready_at.as_millis().to_be_bytes());
        bytes.extend(place.id.get().to_be_bytes());
    }
    bytes
}

/// Reads `front, behind`.
pub(super) fn of(c: &mut Columns<'_, '_>) -> rusqlite::Result<Front> {
    let places = c.checked(|bytes: Vec<u8>| {
        let (places, rest) = bytes.as_chunks::<PLACE_BYTES>();
        if !rest.is_empty() {
            return Err(format!("a front of {} bytes is cut off", bytes.len()));
        }
        places.iter().map(place_of).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(Front::new(places, c.time_or_null()?))
}

fn place_of(bytes: &[u8; PLACE_BYTES]) -> Result<Place, String> {
    let [priority, t0, t1, t2, t3, t4, t5, t6, t7, id @ ..] = *bytes;
    Ok(Place {
        priority: Priority::try_from(priority).map_err(|error| error.to_string())?,
        ready_at: Timestamp::from_millis(i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
        id: JobId::new(i64::from_be_bytes(id)),
    })
}
