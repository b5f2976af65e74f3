-- What waits for a person: dry runs never do, however long they stay proposed.

CREATE INDEX actions_that_wait ON actions (tenant_id, expires_at, action_id) WHERE state = 'proposed' AND mode <> 'dry_run';
