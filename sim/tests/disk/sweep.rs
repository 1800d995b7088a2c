//! The power cut at every operation of a run, under every kind of loss.

use kew_sim::disk::{Disk, Faults, Geometry, Loss, SyncFailure, Trigger};

use super::*;

/// One of each kind of loss; the sectors are those of old and of new disks.
const LOSSES: [Loss; 6] = [
    Loss::DropAll,
    Loss::KeepAll,
    Loss::subset(512),
    Loss::subset(4096),
    Loss::Partway { sector_bytes: 512 },
    Loss::Partway { sector_bytes: 4096 },
];

/// How often a sweep found each kind of damage.
#[derive(Debug, Default, PartialEq)]
struct Damage {
    cuts: u64,
    lost: u64,
    unsound: u64,
    unordered: u64,
}

/// Cuts the power at every operation of a run, under one kind of loss.
fn sweep(setting: Setting, commits: i64, loss: Loss) -> Damage {
    let mut damage = Damage::default();
    for cut in 1.. {
        let disk = Disk::new(HOST, cut);
        disk.cut_at(cut);
        let db = open(setting);
        let acknowledged = db.as_ref().map_or(0, |db| run(db, commits));
        if !disk.is_down() {
            return damage;
        }
        disk.power_cut(loss);
        drop(db);
        damage.cuts += 1;
        match reopen(&disk) {
            Some(Found { rows, prefix, sound: true }) => {
                damage.lost += u64::from(rows < acknowledged);
                damage.unordered += u64::from(!prefix || rows > acknowledged + 1);
            }
            _ => damage.unsound += 1,
        }
    }
    unreachable!("a run has an end")
}

#[test]
fn no_power_cut_at_any_operation_loses_or_spoils_anything_at_full() {
    for setting in [FULL, EXCLUSIVE] {
        for loss in LOSSES {
            let damage = sweep(setting, 60, loss);
            assert!(damage.cuts > 250, "{damage:?}");
            assert_eq!(damage, Damage { cuts: damage.cuts, ..Damage::default() }, "{loss:?}");
        }
    }
}

#[test]
fn no_power_cut_at_any_operation_loses_or_spoils_anything_with_a_rollback_journal() {
    for loss in LOSSES {
        let damage = sweep(ROLLBACK, 15, loss);
        assert!(damage.cuts > 100, "{damage:?}");
        assert_eq!(damage, Damage { cuts: damage.cuts, ..Damage::default() }, "{loss:?}");
    }
}

#[test]
fn a_sweep_finds_the_losses_of_weaker_settings() {
    let normal = sweep(NORMAL, 60, Loss::DropAll);
    assert!(normal.lost > 0 && normal.unsound == 0, "{normal:?}");
    let rollback = sweep(ROLLBACK_FULL, 15, Loss::DropAll);
    assert!(rollback.lost > 0 && rollback.unsound == 0, "{rollback:?}");
    let off = sweep(OFF, 60, Loss::subset(512));
    assert!(off.lost > 0 && off.unsound > 0, "{off:?}");
}

/// Inserts so often, each id until it is acknowledged, while one sync fails and forgets; then the power goes. Returns how
/// many were acknowledged, whether the fault struck, and what is left.
fn forgotten(nth: u64, tries: usize) -> Option<(i64, bool, Option<Found>)> {
    let geometry = Geometry { powersafe_overwrite: true, ..Geometry::default() };
    let disk = Disk::with_geometry(HOST, nth, geometry);
    let (sync_fails, sync_failure) = (Trigger::At(nth), SyncFailure::Forgets);
    disk.set_faults(Faults { sync_fails, sync_failure, ..Faults::default() });
    let db = open(FULL).ok()?;
    // A fault at the very beginning leaves it without a log, which the runtime refuses.
    let mode: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0)).ok()?;
    (mode == "wal").then_some(())?;
    let acknowledged = (0..tries).fold(0, |done, _| done + i64::from(insert(&db, done + 1).is_ok()));
    let struck = 0 < disk.stats().faults;
    disk.power_cut(Loss::DropAll);
    drop(db);
    Some((acknowledged, struck, reopen(&disk)))
}

#[test]
fn no_sync_that_fails_and_forgets_loses_a_commit_where_overwrites_are_powersafe() {
    let mut struck = 0;
    for tries in (5..=60).step_by(5) {
        for nth in 1..=70 {
            let Some((acknowledged, fault, left)) = forgotten(nth, tries) else { continue };
            assert_eq!(left, Some(found(acknowledged)), "sync {nth} of {tries} commits");
            struck += u64::from(fault);
        }
    }
    assert!(300 < struck, "{struck}");
}
