//! The same test of each job.

/// A test of each job: `each_job! { test }` calls `test(job, in_memory, tries)`.
macro_rules! each_job {
    ($test:ident) => {
        $crate::each::each_job! {
            $test:
            a_commit COMMIT,
            an_ingest INGEST,
            an_ingest_that_is_synced_at_once MANY,
            a_large_file_that_changed CHANGED,
            a_collection GC,
            packing PACK,
            packs_that_become_one JOIN,
            garbage_that_leaves_packs SWEEP,
            a_pull PULL,
            a_push PUSH,
            a_repair REPAIR,
            a_stream_and_leases OTHERS,
            the_making_of_a_keg CREATE,
        }

        #[test]
        fn a_working_copy() {
            if !rustix::process::geteuid().is_root() {
                eprintln!("SKIPPED: only root can mount");
                return;
            }
            $test($crate::jobs::WORKING, false, TRIES / 2);
        }
    };
    ($test:ident: $($name:ident $job:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            $test($crate::jobs::$job, true, TRIES);
        }
    )*};
}
pub(crate) use each_job;
