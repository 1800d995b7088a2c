//! The C library's clock and entropy, answered from the seed on simulated threads.
//!
//! This is the net under the injected clock and ids, for what libraries do on their own: hash
//! maps, UUIDs, HTTP dates. It is off on every thread until [`enable`], and then costs one
//! thread-local read per call. A program gets it by linking this crate; whether the linker really
//! put it in force, [`is_in_force`] says, and a simulation must refuse to run when it is not.
//! Out of reach: raw system calls (getrandom 0.2), `/dev/urandom`, and the CPU's own counters.

use std::cell::Cell;
use std::time::Duration;

use crate::disk::rng::Rng;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static RNG: Cell<Rng> = const { Cell::new(Rng::new(0)) };
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static ENTROPY_CALLS: Cell<u64> = const { Cell::new(0) };
    static CLOCK_CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Answers this thread's calls from `seed` and from simulated time, which starts at `epoch` since
/// 1970. Enable it first on a fresh thread: hash maps draw their keys once per thread.
pub fn enable(seed: u64, epoch: Duration) {
    RNG.set(Rng::new(seed));
    NOW.set(epoch);
    ENTROPY_CALLS.set(0);
    CLOCK_CALLS.set(0);
    ON.set(true);
}

/// Lets this thread's calls through to the machine again.
pub fn disable() {
    ON.set(false);
}

/// Sets the time since 1970 that this thread sees. Whoever drives the simulation sets it at every
/// step: within one, libraries see time stand still. (tokio reads the clock at every turn of every
/// host for its own statistics, so an answer must cost next to nothing.)
pub fn set_now(since_epoch: Duration) {
    NOW.set(since_epoch);
}

/// How often this thread was given entropy since [`enable`].
pub fn entropy_calls() -> u64 {
    ENTROPY_CALLS.get()
}

/// How often this thread was told the time since [`enable`].
pub fn clock_calls() -> u64 {
    CLOCK_CALLS.get()
}

/// Whether this program's libraries reach the entry points here, and not the C library's: those
/// that were linked statically (the standard library's clock) and those that look up a name as
/// the program runs (the getrandom crate).
pub fn is_in_force() -> bool {
    #[cfg(target_os = "linux")]
    return entry::is_found() && std_asks_us();
    #[cfg(not(target_os = "linux"))]
    return false;
}

/// Whether the standard library's clock is ours.
#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "this is the one place that must ask it")]
fn std_asks_us() -> bool {
    let (was_on, calls) = (ON.replace(true), CLOCK_CALLS.get());
    let _ = std::time::SystemTime::now();
    ON.set(was_on);
    CLOCK_CALLS.replace(calls) > calls
}

/// Whether this thread is simulated. Threads that are ending count as real ones.
fn on() -> bool {
    ON.try_with(Cell::get).unwrap_or(false)
}

/// Simulated time since 1970.
fn now() -> Duration {
    CLOCK_CALLS.set(CLOCK_CALLS.get() + 1);
    NOW.get()
}

/// The entry points themselves. Only Linux lets a program's own symbols stand in for those of a
/// shared library; elsewhere nothing is replaced, and [`is_in_force`] says so.
#[cfg(target_os = "linux")]
mod entry {
    #![expect(unsafe_code, reason = "the C library's entry points are replaced")]

    use std::ffi::{CStr, c_int, c_long, c_uint, c_void};
    use std::ptr;
    use std::slice;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use super::{ENTROPY_CALLS, RNG, now, on};

    /// `getentropy` refuses more than this at once, by POSIX.
    const ENTROPY_BYTES_MAX: usize = 256;

    /// Whether the names lead here for those who look them up as the program runs.
    pub(super) fn is_found() -> bool {
        // SAFETY: plain look-ups of a name.
        let find = |name: &CStr| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        find(c"getrandom") == getrandom as *mut c_void && find(c"clock_gettime") == clock_gettime as *mut c_void
    }

    /// Fills `len` bytes at `out` from the seed.
    ///
    /// # Safety
    /// `out` points to `len` writable bytes.
    unsafe fn fill(out: *mut c_void, len: usize) {
        ENTROPY_CALLS.set(ENTROPY_CALLS.get() + 1);
        let mut rng = RNG.get();
        if len > 0 {
            // SAFETY: as this function's own contract. The bytes may be uninitialised: they are made
            // zeros before a reference to them exists.
            unsafe {
                ptr::write_bytes(out.cast::<u8>(), 0, len);
                rng.fill(slice::from_raw_parts_mut(out.cast(), len));
            }
        }
        RNG.set(rng);
    }

    /// The C library's `getrandom(2)`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(out: *mut c_void, len: usize, flags: c_uint) -> isize {
        if on() {
            // SAFETY: the caller grants `len` bytes at `out`.
            unsafe { fill(out, len) };
            return len as isize;
        }
        // SAFETY: the arguments are the caller's own.
        let given: c_long = unsafe { libc::syscall(libc::SYS_getrandom, out, len, flags) };
        given as isize
    }

    /// The C library's `getentropy(3)`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getentropy(out: *mut c_void, len: usize) -> c_int {
        let allowed = len <= ENTROPY_BYTES_MAX;
        // SAFETY: the arguments are the caller's own. Up to the limit, the system call gives all the
        // bytes or none.
        let given = if allowed { unsafe { getrandom(out, len, 0) } } else { -1 };
        if !allowed {
            // SAFETY: the pointer is to this thread's own variable.
            unsafe { *libc::__errno_location() = libc::EIO };
        }
        if given == len as isize { 0 } else { -1 }
    }

    /// The C library's `clock_gettime(2)`. The clocks that measure work done stay the machine's.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, out: *mut libc::timespec) -> c_int {
        let measures_work = matches!(clock, libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID);
        if on() && !measures_work {
            let now = now();
            // SAFETY: the caller grants a `timespec` at `out`.
            unsafe {
                (*out).tv_sec = now.as_secs() as libc::time_t;
                (*out).tv_nsec = now.subsec_nanos() as c_long;
            }
            return 0;
        }
        type ClockGettime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int;
        static REAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
        // SAFETY: the name belongs to a function of this type, and the arguments are the caller's.
        unsafe {
            match behind(&REAL, c"clock_gettime") {
                Some(real) => std::mem::transmute::<*mut c_void, ClockGettime>(real)(clock, out),
                None => libc::syscall(libc::SYS_clock_gettime, clock, out) as c_int,
            }
        }
    }

    /// The C library's `gettimeofday(2)`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn gettimeofday(out: *mut libc::timeval, _zone: *mut c_void) -> c_int {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the clock writes to a variable of ours, and the caller grants a `timeval` at `out`.
        unsafe {
            let failed = clock_gettime(libc::CLOCK_REALTIME, &mut now);
            if failed == 0 && !out.is_null() {
                (*out).tv_sec = now.tv_sec;
                (*out).tv_usec = now.tv_nsec / 1_000;
            }
            failed
        }
    }

    /// The C library's `time(2)`.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn time(out: *mut libc::time_t) -> libc::time_t {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the clock writes to a variable of ours, and the caller grants null or a `time_t`.
        unsafe {
            clock_gettime(libc::CLOCK_REALTIME, &mut now);
            if !out.is_null() {
                *out = now.tv_sec;
            }
        }
        now.tv_sec
    }

    /// The function that this one hides: the C library's, which reads the clock without entering the
    /// kernel. Looked up once; nothing is found in a static program.
    fn behind(cache: &AtomicPtr<c_void>, name: &CStr) -> Option<*mut c_void> {
        let mut found = cache.load(Ordering::Relaxed);
        if found.is_null() {
            // SAFETY: a plain look-up of a name.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
            cache.store(found, Ordering::Relaxed);
        }
        (!found.is_null()).then_some(found)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the machine's clock is what is replaced")]
mod tests {
    use std::collections::HashMap;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    use super::*;

    const EPOCH: Duration = Duration::from_secs(1_750_000_000);

    fn since_epoch() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
    }

    /// Runs a test where nothing was enabled before, and no hash map has drawn its keys.
    fn on_a_fresh_thread(test: impl FnOnce() + Send) {
        std::thread::scope(|scope| scope.spawn(test).join().unwrap());
    }

    #[test]
    fn libraries_reach_it() {
        on_a_fresh_thread(|| assert!(is_in_force()));
    }

    #[test]
    fn it_is_inert_until_it_is_enabled() {
        on_a_fresh_thread(|| {
            let _: HashMap<u8, u8> = HashMap::new();
            let real = since_epoch();
            assert_eq!((entropy_calls(), clock_calls()), (0, 0));
            enable(1, EPOCH);
            assert_eq!(since_epoch(), EPOCH);
            disable();
            assert!(since_epoch() >= real);
            assert_eq!(clock_calls(), 1);
        });
    }

    #[test]
    fn the_same_seed_gives_the_same_order_of_a_hash_map() {
        let order = |seed| {
            let mut order: Vec<u8> = Vec::new();
            on_a_fresh_thread(|| {
                enable(seed, EPOCH);
                let map: HashMap<u8, ()> = (0..50).map(|key| (key, ())).collect();
                order.extend(map.keys());
                assert_eq!(entropy_calls(), 1);
            });
            order
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn the_time_is_what_was_set() {
        on_a_fresh_thread(|| {
            enable(1, EPOCH);
            let start = Instant::now();
            set_now(EPOCH + Duration::from_millis(2_500));
            assert_eq!(start.elapsed(), Duration::from_millis(2_500));
        });
    }
}
