//! Rota.
