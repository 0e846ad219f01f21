//! Whether this agent says what its engine wants to say.

use crate::domain::Height;
use std::sync::{Arc, Mutex, PoisonError};

/// What is kept to oneself, shared by all who speak.
#[derive(Clone, Debug, Default)]
pub(super) struct Voice(Arc<Mutex<Option<Height>>>);

impl Voice {
    /// Says nothing any more up to and at this height.
    pub(super) fn mute_through(&self, height: Height) {
        let mut highest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *highest = (*highest).max(Some(height));
    }

    /// Whether nothing is said at this height.
    pub(super) fn is_muted_at(&self, height: Height) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) >= Some(height)
    }
}
