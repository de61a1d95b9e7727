import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Suspense, useState } from "react";
import { useLocation } from "wouter";
import { jobText } from "#text/job";
import { api, unwrap } from "../../../api/client";
import { lazyPart } from "../../../app/part";
import { may, useSession } from "../../../app/session";
import { CopyButton } from "../../../components/copy";
import { Confirm } from "../../../components/dialog";
import { NotifyButton } from "../../../components/notify";
import type { Job } from "../../../live";

const AgainDialog = lazyPart(() => import("./again"));

type Asked = "cancel" | "delete" | "again" | null;

/** What can be done with a job. */
export function Actions({ job }: { job: Job }) {
  const [, navigate] = useLocation();
  const queries = useQueryClient();
  const [asked, setAsked] = useState<Asked>(null);
  const params = { path: { job_id: job.job_id } };
  const close = () => setAsked(null);
  const cancel = useMutation({
    mutationFn: () => unwrap(api.POST("/jobs/{job_id}/cancel", { params })),
    onSettled: () => {
      close();
      return queries.invalidateQueries({ queryKey: ["job", job.job_id] });
    },
  });
  const retry = useMutation({
    mutationFn: () => unwrap(api.POST("/jobs/{job_id}/retry", { params })),
    onSuccess: (made) => navigate(`/jobs/${made.job_id}`),
  });
  const remove = useMutation({
    mutationFn: () => unwrap(api.DELETE("/jobs/{job_id}", { params })),
    onSuccess: () => {
      queries.removeQueries({ queryKey: ["jobs"] });
      navigate("/");
    },
    onSettled: close,
  });
  const error = cancel.error ?? retry.error ?? remove.error;
  const words = jobText.actions;
  const mayChange = may(useSession().data, "jobs:write", job.project);
  return (
    <>
      <fieldset className="actions" aria-label={words.name}>
        {!mayChange ? null : job.status === "completed" ? (
          <>
            <button type="button" disabled={retry.isPending} onClick={() => retry.mutate()}>
              {words.retry}
            </button>
            {job.type === "container" && (
              <button type="button" onClick={() => setAsked("again")}>
                {words.again}
              </button>
            )}
            <button type="button" onClick={() => setAsked("delete")}>
              {words.delete}
            </button>
          </>
        ) : (
          <button type="button" disabled={job.cancel_requested_time !== null} onClick={() => setAsked("cancel")}>
            {job.cancel_requested_time === null ? words.cancel : words.cancelling}
          </button>
        )}
        <NotifyButton key={job.job_id} job={job} />
        <CopyButton value={location.href} label={words.link} />
      </fieldset>
      {error && (
        <p className="warning" role="alert">
          {words.failed(error.message)}
        </p>
      )}
      {asked === "cancel" && (
        <Confirm
          title={words.cancelTitle}
          action={words.cancelDo}
          busy={cancel.isPending}
          onConfirm={() => cancel.mutate()}
          onClose={close}
        >
          <p>{words.cancelText}</p>
        </Confirm>
      )}
      {asked === "again" && (
        <Suspense>
          <AgainDialog job={job} onClose={close} />
        </Suspense>
      )}
      {asked === "delete" && (
        <Confirm
          title={words.deleteTitle}
          action={words.deleteDo}
          busy={remove.isPending}
          onConfirm={() => remove.mutate()}
          onClose={close}
        >
          <p>{words.deleteText}</p>
        </Confirm>
      )}
    </>
  );
}
