import { Link } from "wouter";
import { commonText } from "#text/common";
import { useTitle } from "../../app/title";
import { Empty } from "../../components/placeholders";

/** Says that an address leads nowhere. */
export default function NotFoundPage() {
  useTitle(commonText.notFoundTitle);
  return (
    <Empty title={commonText.notFoundTitle}>
      <p>{commonText.notFoundText}</p>
      <Link href="/">{commonText.toJobs}</Link>
    </Empty>
  );
}
