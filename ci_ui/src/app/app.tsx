import { QueryClientProvider } from "@tanstack/react-query";
import { Suspense, useState } from "react";
import { Redirect, Route, Router, Switch, useLocation } from "wouter";
import { Loading } from "../components/placeholders";
import { useSessionOfStreams } from "../live";
import { JobsPage } from "../pages/jobs";
import { pagesPath } from "./base";
import { Boundary } from "./boundary";
import { Layout } from "./layout";
import { lazyPart } from "./part";
import { createQueries } from "./queries";
import { mustSignIn, signInPath, useSession } from "./session";

const ComparePage = lazyPart(() => import("../pages/compare"));
const LogPage = lazyPart(() => import("../pages/log"));
const ProjectPage = lazyPart(() => import("../pages/project"));
const ProjectsPage = lazyPart(() => import("../pages/projects"));
const JobPage = lazyPart(() => import("../pages/job"));
const QueuePage = lazyPart(() => import("../pages/queue"));
const NotFoundPage = lazyPart(() => import("../pages/not_found"));
const SettingsPage = lazyPart(() => import("../pages/settings"));
const SubmitPage = lazyPart(() => import("../pages/submit"));
const SignInPage = lazyPart(() => import("../pages/sign_in"));

/** The page as a whole. */
export function App() {
  const [queries] = useState(createQueries);
  return (
    <QueryClientProvider client={queries}>
      <Router base={pagesPath}>
        <Gate />
      </Router>
    </QueryClientProvider>
  );
}

/** Shows the page for signing in where nothing else can be shown. */
function Gate() {
  const [path] = useLocation();
  const session = useSession();
  const [wasIn, setWasIn] = useState(false);
  const outside = session.data !== undefined && mustSignIn(session.data);
  if (session.data && !outside && !wasIn) setWasIn(true);
  useSessionOfStreams(session.data);
  const signingIn = path === "/sign-in";
  // A session that ends later leaves the page, and what was typed there, as it is: the frame offers to sign in again.
  const ended = outside && wasIn && !signingIn;
  return (
    <Layout sender={session.data?.sender ?? null} ended={ended ? session.data : null} bare={outside && signingIn}>
      {session.isPending ? (
        <Loading />
      ) : outside && !wasIn && !signingIn ? (
        <Redirect to={signInPath()} replace />
      ) : (
        <Pages path={path} />
      )}
    </Layout>
  );
}

function Pages({ path }: { path: string }) {
  return (
    <Boundary resetKey={path}>
      <Suspense fallback={<Loading />}>
        <Switch>
          <Route path="/" component={JobsPage} />
          <Route path="/compare" component={ComparePage} />
          <Route path="/submit" component={SubmitPage} />
          <Route path="/settings/:tab?" component={SettingsPage} />
          <Route path="/sign-in" component={SignInPage} />
          <Route path="/jobs/:id/log" component={LogPage} />
          <Route path="/projects" component={ProjectsPage} />
          <Route path="/projects/*" component={ProjectPage} />
          <Route path="/jobs/:jobId" component={JobPage} />
          <Route path="/queue" component={QueuePage} />
          <Route component={NotFoundPage} />
        </Switch>
      </Suspense>
    </Boundary>
  );
}
