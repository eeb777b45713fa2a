//! Buffers that the kernel reads into behind what is there already.
//!
//! monoio's own buffers are always filled from their beginning; a reader of requests or replies wants the next bytes
//! after those it has not consumed yet.

use bytes::BytesMut;
use monoio::buf::IoBufMut;

/// A `BytesMut` whose free room is filled: `Tail(buffer)` goes in, `.0` comes out with the new bytes appended.
///
/// The caller reserves room first; without any the read would ask for nothing and look like the end of the stream.
#[derive(Debug, Default)]
pub struct Tail(pub BytesMut);

// SAFETY: the pointer is the end of the initialised part, stable while the value is not touched (the bytes live on
// the heap); as many bytes as `bytes_total` says lie behind it and belong to this buffer alone; `set_init` is only
// called with a number of bytes that the kernel has written there.
unsafe impl IoBufMut for Tail {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.0.capacity() - self.0.len()
    }

    unsafe fn set_init(&mut self, read: usize) {
        let length = self.0.len() + read;
        // SAFETY: the kernel has written `read` bytes behind the old length.
        unsafe { self.0.set_len(length) };
    }
}

/// A flat buffer with a window of unread bytes in it: filled at its end, consumed at its front, never reallocated
/// while it has room.
#[derive(Debug, Default)]
pub struct Window {
    storage: Vec<u8>,
    front: usize,
}

impl Window {
    /// An empty one with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Window {
        Window { storage: Vec::with_capacity(capacity), front: 0 }
    }

    /// The unread bytes.
    pub fn unread(&mut self) -> &mut [u8] {
        &mut self.storage[self.front..]
    }

    /// Number of unread bytes.
    pub fn len(&self) -> usize {
        self.storage.len() - self.front
    }

    /// Whether nothing is unread.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes it can hold in all.
    pub fn capacity(&self) -> usize {
        self.storage.capacity()
    }

    /// Marks `count` bytes at the front as read.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "no more can be consumed than is there");
        self.front += count;
        if self.front == self.storage.len() {
            self.storage.clear();
            self.front = 0;
        }
    }

    /// Makes room to read into: moves the unread bytes to the front, and where that gives none, grows to twice its
    /// size, but never beyond `capacity_max`. `false` where it is full and may not grow.
    pub fn make_room(&mut self, capacity_max: usize) -> bool {
        if self.storage.len() < self.storage.capacity() {
            return true;
        }
        if self.front > 0 {
            self.storage.drain(..self.front);
            self.front = 0;
            return true;
        }
        let capacity = (self.storage.capacity() * 2).min(capacity_max);
        if capacity <= self.storage.len() {
            return false;
        }
        self.storage.reserve_exact(capacity - self.storage.len());
        true
    }
}

// SAFETY: the pointer is the end of the initialised part, stable while the value is not touched (the bytes live on
// the heap); as many bytes as `bytes_total` says lie behind it and belong to this buffer alone; `set_init` is only
// called with a number of bytes that the kernel has written there.
unsafe impl IoBufMut for Window {
    fn write_ptr(&mut self) -> *mut u8 {
        self.storage.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.storage.capacity() - self.storage.len()
    }

    unsafe fn set_init(&mut self, read: usize) {
        let length = self.storage.len() + read;
        // SAFETY: the kernel has written `read` bytes behind the old length.
        unsafe { self.storage.set_len(length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does, without one.
    fn fill<B: IoBufMut>(buffer: &mut B, bytes: &[u8]) {
        assert!(bytes.len() <= buffer.bytes_total());
        // SAFETY: the room has just been checked, and what `set_init` announces has been written.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.write_ptr(), bytes.len());
            buffer.set_init(bytes.len());
        }
    }

    #[test]
    fn a_window_slides_then_grows_then_refuses() {
        let mut window = Window::with_capacity(8);
        fill(&mut window, b"abcdef");
        window.consume(4);
        fill(&mut window, b"gh");
        assert_eq!(window.unread(), b"efgh");
        assert!(window.make_room(16));
        assert_eq!((window.unread().to_vec(), window.capacity()), (b"efgh".to_vec(), 8), "it slides before it grows");
        fill(&mut window, b"ijkl");
        assert!(window.make_room(16));
        assert_eq!(window.capacity(), 16);
        fill(&mut window, b"mnopqrst");
        assert!(!window.make_room(16));
        assert_eq!(window.unread(), b"efghijklmnopqrst");
        window.consume(16);
        assert!(window.is_empty() && window.make_room(16) && window.bytes_total() == 16);
    }

    #[test]
    fn a_tail_appends() {
        let mut tail = Tail(BytesMut::with_capacity(8));
        tail.0.extend_from_slice(b"ab");
        fill(&mut tail, b"cd");
        fill(&mut tail, b"ef");
        assert_eq!(&tail.0[..], b"abcdef");
    }
}
