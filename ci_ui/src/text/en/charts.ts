export const chartsText = {
  jobs: "Jobs, the newest at the right",
  oldest: "older",
  newest: "newest",
  good: "succeeded",
  bad: "did not succeed",
  asTable: "The same as a table",
};
