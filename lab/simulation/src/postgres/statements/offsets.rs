//! Where partitions go on: claim, fence, and reading it.

use super::super::rows::Offset;
use super::super::values::{Params, row};
use super::{Plan, Scope, Steps, done, step};

pub(super) fn claim(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let row = Offset {
        topic_id: *params.uuid(1)?,
        partition: *params.i32(2)?,
        next_offset: 0,
        leader_epoch: None,
        epoch_offset: None,
        updated_at: scope.now,
    };
    Ok(Steps::from([step(move |scope| {
        let written =
            scope.insert_or_update(|database| &mut database.offsets, row.clone(), |held, _| Ok(Some(held)))?;
        let written = written.expect("this update has no condition");
        let epoch = written.leader_epoch.filter(|_| written.epoch_offset == Some(written.next_offset));
        scope.answer(vec![Some(written.next_offset.to_string()), epoch.map(|epoch| epoch.to_string())]);
        Ok(())
    })]))
}

pub(super) fn fence(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let key = (*params.uuid(1)?, *params.i32(2)?);
    let (from, to, now) = (*params.i64(3)?, *params.i64(4)?, scope.now);
    let leader_epoch = Some(*params.i32(5)?).filter(|epoch| *epoch != -1);
    let Some(seen) = scope.database.offsets.get(scope.owner, &key).cloned() else { return done() };
    Ok(Steps::from([step(move |scope| {
        scope.update(
            |database| &mut database.offsets,
            &seen,
            |held: Offset| {
                let moved_from = held.next_offset;
                let epoch_offset = Some(to);
                let moved = Offset { next_offset: to, leader_epoch, epoch_offset, updated_at: now, ..held };
                Ok((moved_from == from).then_some(moved))
            },
        )?;
        Ok(())
    })]))
}

pub(super) fn read(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let key = (*params.uuid(1)?, *params.i32(2)?);
    if scope.database.offsets.get(scope.owner, &key).is_none() {
        return done();
    }
    Ok(Steps::from([step(move |scope| {
        if let Some(held) = scope.database.offsets.lock(scope.owner, &key)? {
            scope.answer(row![held.next_offset]);
        }
        Ok(())
    })]))
}

/// `SELECT DISTINCT topic_id FROM offsets WHERE next_offset > 0`.
pub(super) fn known_topics(scope: &mut Scope<'_>, _: &Params) -> Plan {
    let rows = scope.database.offsets.scan(scope.owner).filter(|row| row.next_offset > 0);
    let topics: std::collections::BTreeSet<_> = rows.map(|row| row.topic_id).collect();
    for topic in scope.shuffled(topics.into_iter().collect()) {
        scope.answer(row![topic]);
    }
    done()
}

/// `SELECT partition, next_offset FROM offsets WHERE topic_id = $1`.
pub(super) fn of_topic(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let topic = *params.uuid(1)?;
    let rows = scope.database.offsets.scan(scope.owner).filter(|row| row.topic_id == topic);
    let rows = rows.map(|row| row![row.partition, row.next_offset]).collect();
    for row in scope.shuffled(rows) {
        scope.answer(row);
    }
    done()
}
