//! From the path of the URL to the rollup: `/` is the default one, `/rollup/<chain id>` any other.

use crate::domain::RollupId;
use crate::rpc::RpcError;

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The root: the default rollup, and what does not concern one.
    Root,
    /// A rollup's own path. Whether it is registered is asked at each call.
    Rollup(RollupId),
    /// Neither.
    Unknown(String),
}

impl Endpoint {
    /// Bytes of a path that an error repeats.
    const SHOWN: usize = 80;

    pub(super) fn of_path(path: &str) -> Self {
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        if trimmed.is_empty() {
            return Self::Root;
        }
        let digits = trimmed.strip_prefix("/rollup/").filter(|rest| {
            !rest.is_empty()
                && !rest.starts_with('0')
                && rest.bytes().all(|byte| byte.is_ascii_digit())
        });
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(id) => Self::Rollup(RollupId::new(id)),
            None => Self::Unknown(path.chars().take(Self::SHOWN).collect()),
        }
    }

    /// The rollup, given the default one.
    pub(super) fn rollup(&self, default: RollupId) -> Result<RollupId, RpcError> {
        match self {
            Self::Root => Ok(default),
            Self::Rollup(rollup) => Ok(*rollup),
            Self::Unknown(path) => Err(RpcError::InvalidPath { path: path.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;
    use crate::domain::RollupId;

    #[test]
    fn paths_name_the_root_or_a_rollup() {
        for root in ["", "/"] {
            assert_eq!(Endpoint::of_path(root), Endpoint::Root);
        }
        for path in ["/rollup/901", "/rollup/901/"] {
            assert_eq!(Endpoint::of_path(path), Endpoint::Rollup(RollupId::new(901)));
        }
        let largest = Endpoint::Rollup(RollupId::new(u64::MAX));
        assert_eq!(Endpoint::of_path("/rollup/18446744073709551615"), largest);
    }

    #[test]
    fn anything_else_is_unknown() {
        let paths = [
            "/rollup",
            "/rollup/",
            "/rollup/0",
            "/rollup/0901",
            "/rollup/+901",
            "/rollup/0x385",
            "/rollup/901/x",
            "/rollups/901",
            "//",
            "/rollup/18446744073709551616",
            "/rollup/９",
        ];
        for path in paths {
            assert_eq!(Endpoint::of_path(path), Endpoint::Unknown(path.to_owned()), "{path}");
        }
    }
}
