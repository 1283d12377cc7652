//! The `portreeve-hub` program.
//!
//! Its allocator is mimalloc (MIT), because the hub's index consists of many small objects. Measured with 150,000 pods
//! that are listed in pages, 200,000 changes and 300,000 replaced pods, in MB and seconds of CPU:
//!
//! | | at the start | peak | afterwards | CPU |
//! |---|---|---|---|---|
//! | glibc | 2.5 | 395 | 395 | 13.8 |
//! | mimalloc 3 | 6.8 | 372 to 380 | 362 to 366 | 9.9 |
//! | mimalloc 2 | 4.7 | 395 | 374 | 9.7 |
//! | jemalloc 5.3 | 3.2 | 400 | 364 | 9.6 |
//!
//! The agent's program and `portreeve` keep glibc's: mimalloc's first 4 MB are more than a keeper's
//! whole anonymous memory (1.6 MB).

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    portreeve_hub::main_with(std::env::args_os())
}
