//! Work that blocks (the disk, compression, signatures), off the threads that wait for the network.

/// Runs `work` where it may block, and gives its result. A panic in it goes on here. While the runtime shuts down the work
/// may never run; then this never returns, and neither does anything else.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}
