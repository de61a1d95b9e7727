import { queueText } from "#text/queue";
import { Bars } from "../../components/charts/bars";
import { type Column, DataTable } from "../../components/data_table";
import { Section } from "../../components/section";
import { durationWords } from "../../components/time";
import { type Metrics, useMetrics } from "./data";

/** How long the parts of a job's path took, beside its own code. */
export function StagesSection() {
  const metrics = useMetrics();
  return (
    <Section title={queueText.stages} query={metrics} empty={(data) => !rowsOf(data).length && queueText.noStages}>
      {(data) => <Stages rows={rowsOf(data)} />}
    </Section>
  );
}

interface Row {
  stage: string;
  way: string;
  jobs: number;
  ms: number;
}

function rowsOf(metrics: Metrics): Row[] {
  return Object.entries(metrics.stages).flatMap(([stage, ways]) =>
    Object.entries(ways)
      .filter(([, { jobs }]) => jobs > 0)
      .map(([way, { jobs, avg_ms }]) => ({ stage, way, jobs, ms: avg_ms })),
  );
}

function Stages({ rows }: { rows: Row[] }) {
  const most = Math.max(...rows.map((row) => row.ms));
  const columns: Column<Row>[] = [
    { name: queueText.stage, shape: "once", cell: ({ stage }) => queueText.stageNames[stage] ?? stage },
    { name: queueText.way, shape: "once", cell: ({ way }) => queueText.ways[way] ?? way },
    { name: queueText.jobs, cell: ({ jobs }) => jobs.toLocaleString() },
    {
      name: queueText.average,
      shape: "once",
      cell: ({ ms }) => (ms < 1_000 ? queueText.milliseconds(Math.round(ms)) : durationWords(ms)),
    },
    { name: null, shape: "bars", cell: ({ ms }) => <Bars most={most} parts={[ms]} /> },
  ];
  return (
    <DataTable label={queueText.stages} columns={columns} rows={rows} keyOf={({ stage, way }) => `${stage} ${way}`} />
  );
}
