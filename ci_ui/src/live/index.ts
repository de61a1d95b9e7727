/** Live data of jobs, shared by all tabs of the browser. */
export { followLog, type LogState, type TakeChunk } from "./follow_log";
export { type Change, endOf, type Filters, type Job, type Mode } from "./protocol";
export { tellSignedIn } from "./tab";
export { type Connection, useConnection } from "./use_connection";
export { jobKey, useJob, useJobMode } from "./use_job";
export { useJobEvents } from "./use_job_events";
export { useSessionOfStreams } from "./use_session_of_streams";
