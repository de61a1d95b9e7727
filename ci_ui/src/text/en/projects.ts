export const projectsText = {
  title: "Projects",
  empty: "There are no projects yet.",
  emptyHint: "A job that names a project makes one. Try",
  noneFound: "No project has this in its name.",
  search: "Find a project",
  showMore: (n: number) => `Show ${n} more`,
  name: "Project",
  last: "Last job",
  when: "Ended",
  success: "Succeeded",
  ofJobs: (succeeded: number, total: number) => `${succeeded} of ${total}`,
  median: "Median duration",
  trend: "Durations",
  noJobs: "no job has ended",
  basis: "The numbers are those of the last 30 jobs of each project.",
  recent:
    "Projects that were not created are found if one of the last 100 jobs, or one that waits or runs, names them.",
};
