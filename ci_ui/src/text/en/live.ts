export const liveText = {
  notify: "Notify me at the end",
  notified: "You will be notified",
  notifyBlocked: "The browser does not allow this page to notify you. Its settings for this site say so.",
  ended: (state: string) => `Job: ${state}`,
};
