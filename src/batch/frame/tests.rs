#![expect(clippy::cast_possible_truncation, reason = "small numbers of the tests' own making")]

use super::{FrameError, MAX_BLOCK_BYTES, unpack};
use proptest::prelude::*;
use zstd::zstd_safe::{CCtx, CParameter};

const LIMIT: usize = 1_000_000;

/// A frame as writers make it.
fn packed(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, 9).unwrap()
}

/// A frame that another writer may make.
fn packed_as(content: &[u8], parameters: &[CParameter]) -> Vec<u8> {
    let mut context = CCtx::create();
    for parameter in parameters {
        context.set_parameter(*parameter).unwrap();
    }
    let mut frame = Vec::with_capacity(content.len().saturating_add(1_000));
    context.compress2(&mut frame, content).unwrap();
    frame
}

/// A frame of blocks given as they stand, after the head that `content` bytes have.
fn framed(descriptor: u8, size: &[u8], blocks: &[u8]) -> Vec<u8> {
    [&super::MAGIC[..], &[descriptor], size, blocks].concat()
}

fn refusal(frame: &[u8]) -> FrameError {
    unpack(frame, LIMIT).unwrap_err()
}

#[test]
fn what_writers_make_is_taken_at_each_width_of_the_size_and_at_any_level() {
    for size in [1, 255, 256, 257, 65_535, 65_791, 65_792, 131_072, 131_073, 500_000] {
        let content: Vec<u8> = (0..size).map(|i| (i / 7 % 251) as u8).collect();
        for level in [-5, 1, 3, 9, 19, 22] {
            let frame = zstd::bulk::compress(&content, level).unwrap();
            let same = unpack(&frame, size).as_ref() == Ok(&content);
            assert!(same, "{size} bytes at level {level}");
        }
        let limit = size.saturating_sub(1);
        assert_eq!(unpack(&packed(&content), limit), Err(FrameError::TooLarge { size, limit }));
    }
}

#[test]
fn a_frame_of_nothing_holds_nothing() {
    assert_eq!(unpack(&packed(&[]), 0), Ok(Vec::new()));
}

#[test]
fn only_one_frame_is_taken_and_nothing_around_it() {
    let frame = packed(b"content");
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
    assert_eq!(refusal(&[]), FrameError::Magic);
    assert_eq!(refusal(&skippable), FrameError::Magic);
    assert_eq!(refusal(&[&skippable[..], &frame].concat()), FrameError::Magic);
    assert_eq!(refusal(&[&frame[..], &skippable].concat()), FrameError::Trailing { count: 10 });
    let count = frame.len();
    assert_eq!(refusal(&[&frame[..], &frame].concat()), FrameError::Trailing { count });
    let empty = packed(&[]);
    let count = empty.len();
    assert_eq!(refusal(&[&frame[..], &empty].concat()), FrameError::Trailing { count });
    assert_eq!(refusal(&[&frame[..], &[0]].concat()), FrameError::Trailing { count: 1 });
    // Of zstd's formats before 0.8.
    assert_eq!(refusal(&[0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0]), FrameError::Magic);
}

#[test]
fn other_heads_are_refused_also_where_the_library_reads_them() {
    let content = vec![5_u8; 3_000];
    let refused = |parameters: &[CParameter]| {
        let frame = packed_as(&content, parameters);
        assert_eq!(zstd::bulk::decompress(&frame, LIMIT).unwrap(), content, "the library takes it");
        refusal(&frame)
    };
    let checksum = refused(&[CParameter::ChecksumFlag(true)]);
    assert_eq!(checksum, FrameError::Descriptor { actual: 0b0110_0100 });
    let no_size = refused(&[CParameter::ContentSizeFlag(false)]);
    assert_eq!(no_size, FrameError::Descriptor { actual: 0 });

    // A window of 2^30 bytes, and the bits that are unused, reserved, or name a dictionary.
    let last_byte_five = [1, 0, 0];
    for descriptor in [0b0000_0000, 0b0010_1000, 0b0011_0000, 0b0010_0001, 0b1110_0000] {
        let frame = framed(descriptor, &[20 << 3, 0], &last_byte_five);
        assert_eq!(refusal(&frame), FrameError::Descriptor { actual: descriptor });
    }
}

#[test]
fn a_size_has_one_form() {
    let block = |length: usize| [(length << 3 | 0b011) as u8, (length >> 5) as u8, 0, 7];
    let two = framed(0b0110_0000, &[0, 0], &block(256));
    assert_eq!(unpack(&two, LIMIT), Ok(vec![7; 256]));
    let four = |size: u32| framed(0b1010_0000, &size.to_le_bytes(), &block(200));
    assert_eq!(refusal(&four(200)), FrameError::LongSize { size: 200 });
    assert_eq!(refusal(&four(65_791)), FrameError::LongSize { size: 65_791 });
    assert_eq!(refusal(&four(65_792)), FrameError::Content { size: 65_792 });
    let size = u32::MAX as usize;
    assert_eq!(refusal(&four(u32::MAX)), FrameError::TooLarge { size, limit: LIMIT });
}

#[test]
fn blocks_end_where_the_frame_does_and_are_of_kinds_that_there_are() {
    let one = |blocks: &[u8]| framed(0b0010_0000, &[4], blocks);
    // Raw blocks: one, two, an empty one before the last, and an empty last one.
    let held = [b'a', b'b', b'c', b'd'];
    let whole = [&[4 << 3 | 1, 0, 0][..], &held].concat();
    let two = [&[2 << 3, 0, 0, b'a', b'b'][..], &[2 << 3 | 1, 0, 0, b'c', b'd']].concat();
    let late = [&[0, 0, 0][..], &whole].concat();
    let last = [&[4 << 3, 0, 0][..], &held, &[1, 0, 0]].concat();
    for blocks in [&whole, &two, &late, &last] {
        assert_eq!(unpack(&one(blocks), LIMIT), Ok(held.to_vec()), "{blocks:?}");
    }

    assert_eq!(refusal(&one(&[])), FrameError::Short { part: "blocks" });
    assert_eq!(refusal(&one(&whole[..6])), FrameError::Short { part: "blocks" });
    let never_last = [&[4 << 3, 0, 0][..], &held].concat();
    assert_eq!(refusal(&one(&never_last)), FrameError::Short { part: "blocks" });
    assert_eq!(refusal(&one(&[4 << 3 | 0b111, 0, 0, 1])), FrameError::BlockKind { index: 0 });
    let second = [&[2 << 3, 0, 0, 1, 2][..], &[5 << 3 | 0b011, 0, 0, 9]].concat();
    let too_large = FrameError::BlockTooLarge { index: 1, length: 5, limit: 4 };
    assert_eq!(refusal(&one(&second)), too_large);
    // As long as it may be, and not what the head says.
    assert_eq!(refusal(&one(&[3 << 3 | 0b011, 0, 0, 9])), FrameError::Content { size: 4 });
    let twice = [&[4 << 3 | 0b010, 0, 0, 9][..], &[4 << 3 | 0b011, 0, 0, 9]].concat();
    assert_eq!(refusal(&one(&twice)), FrameError::Content { size: 4 });
    assert_eq!(refusal(&one(&[4 << 3 | 0b101, 0, 0, 1, 2, 3, 4])), FrameError::Content { size: 4 });
}

#[test]
fn a_block_is_never_longer_than_zstd_allows() {
    let size = MAX_BLOCK_BYTES.saturating_add(1);
    let header = (size << 3 | 0b011).to_le_bytes();
    let frame = framed(0b1010_0000, &(size as u32).to_le_bytes(), &[&header[..3], &[7]].concat());
    let limit = MAX_BLOCK_BYTES;
    assert_eq!(refusal(&frame), FrameError::BlockTooLarge { index: 0, length: size, limit });
}

#[test]
fn each_cut_of_a_frame_is_refused() {
    let frame = packed(b"some content, some content, some content");
    for end in 0..frame.len() {
        assert!(unpack(&frame[..end], LIMIT).is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn damaged_frames_end_in_an_answer_and_no_more_than_the_limit(
        content in prop::collection::vec(0_u8..4, 0..2_000),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut frame = packed(&content);
        for (place, byte) in damage {
            *place.get_mut(&mut frame) = byte;
        }
        if let Ok(unpacked) = unpack(&frame, 2_000) {
            prop_assert!(unpacked.len() <= 2_000);
            prop_assert_eq!(zstd::bulk::decompress(&frame, 2_000).unwrap(), unpacked);
            frame.push(0);
            prop_assert_eq!(unpack(&frame, 2_000), Err(FrameError::Trailing { count: 1 }));
        }
    }

    #[test]
    fn any_bytes_after_a_magic_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let frame = [&super::MAGIC[..], &bytes].concat();
        if let Ok(unpacked) = unpack(&frame, 5_000) {
            prop_assert!(unpacked.len() <= 5_000);
        }
    }
}
