"""The steps before or after which a schedule may inject a fault."""

from dualpath.steps import Step

STREAM = (
    *(Step.BEGIN, Step.STAGE, Step.LOG, Step.PLACE_IDS, Step.COMMIT, Step.SERVE, Step.MOVE_MANIFEST),
    *(Step.WRITE_RECORDS, Step.ADVANCE_MARK, Step.FINISH, Step.MERGE_SEGMENTS, Step.DROP_SEGMENTS),
    *(Step.REBUILD_RECORDS, Step.PLACE_MANIFEST, Step.EXPIRE_SUPERSEDED),
)
"""Of a batch, and of the rebuild before it."""

NIGHT = (
    *(Step.CLOSE_DAY, Step.COMPACT_LOG, Step.VACUUM_LOG, Step.CHECK_QUALITY, Step.PUBLISH_RECORD_FILES),
    *(Step.WRITE_SNAPSHOT, Step.MOVE_MANIFEST, Step.EXPIRE_SUPERSEDED),
)

HANDOVER = (Step.LEAVE_OFF, Step.REBUILD, Step.BEGIN_GENERATION, Step.PLACE_MANIFEST)
