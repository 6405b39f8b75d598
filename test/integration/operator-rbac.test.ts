// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OBJECTS } from '#crds/names.ts';
import { createKubeClient } from '#kube/client.ts';
import type { KubeClient } from '#kube/client.ts';
import { PooledKubeConfig } from '#kube/pooled-config.ts';
import { createTransport } from '#kube/transport.ts';
import { startApiServer } from '#test/servers/apiserver.ts';
import type { ApiServer } from '#test/servers/apiserver.ts';
import { until } from '#test/until.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const OTHER_NAMESPACE = 'team';
const VERBS = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection'];

/** Whatever somebody may think of asking for; the rows of the table are among them. */
const RESOURCES = [
  'penstock.dev inferenceapps inferenceapps/status inferenceapps/scale inferenceapps/finalizers',
  'penstock.dev placements placements/status placements/finalizers',
  'batch jobs jobs/status cronjobs',
  'core pods pods/status pods/log pods/exec pods/eviction pods/ephemeralcontainers pods/attach pods/portforward',
  'core secrets configmaps serviceaccounts serviceaccounts/token namespaces nodes events services persistentvolumeclaims',
  'apps deployments daemonsets replicasets',
  'events.k8s.io events',
  'coordination.k8s.io leases',
  'rbac.authorization.k8s.io roles rolebindings clusterroles clusterrolebindings',
  'authentication.k8s.io tokenreviews',
  'authorization.k8s.io subjectaccessreviews',
  'apiextensions.k8s.io customresourcedefinitions',
  'admissionregistration.k8s.io mutatingwebhookconfigurations validatingwebhookconfigurations validatingadmissionpolicies',
].flatMap((line) => {
  const [group = '', ...resources] = line.split(' ');
  return resources.map((resource) => ({ group, resource }));
});

interface Question {
  readonly account: string;
  readonly group: string;
  readonly resource: string;
  readonly verb: string;
  readonly namespace: string;
  readonly name: string;
}

interface Row {
  readonly account: string;
  readonly group: string;
  readonly resource: string;
  readonly verbs: readonly string[];
  readonly namespace: string;
  readonly names: readonly string[];
}

const rows = parseTable(readFileSync(`${root}/docs/permissions.md`, 'utf8'));

function parseTable(text: string): readonly Row[] {
  const cells = text
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  return cells.slice(2).map(([account = '', group = '', resource = '', verbs = '', namespace = '', names = '']) => ({
    account,
    group,
    resource,
    verbs: verbs.split(' '),
    namespace,
    names: names.split(' '),
  }));
}

function granted(question: Question): boolean {
  return rows.some(
    (row) =>
      row.account === question.account &&
      row.group === question.group &&
      row.resource === question.resource &&
      row.verbs.includes(question.verb) &&
      (row.namespace === 'any' || row.namespace === question.namespace) &&
      (row.names.includes('any') || row.names.includes(question.name)),
  );
}

/** Each resource and verb, elsewhere and in the own namespace, for a stranger's name and for each name of the table. */
function questions(account: string): Question[] {
  const named = [...new Set(rows.flatMap((row) => row.names))].filter((name) => name !== 'any');
  const places = [
    { namespace: OTHER_NAMESPACE, name: 'somebody' },
    ...['somebody', ...named].map((name) => ({ namespace: OBJECTS.systemNamespace, name })),
  ];
  return RESOURCES.flatMap((resource) =>
    VERBS.flatMap((verb) => places.map((place) => ({ account, ...resource, verb, ...place }))),
  );
}

let api: ApiServer;
let client: KubeClient;

beforeAll(async () => {
  api = await startApiServer();
  client = createKubeClient(createTransport(PooledKubeConfig.load(api.kubeconfig)));
  await api.kube('create', 'namespace', OBJECTS.systemNamespace);
  await api.kube('apply', '-k', `${root}/config/rbac`);
});
afterAll(async () => {
  await client.close();
  await api.stop();
});

async function mayIt({ account, group, resource, verb, namespace, name }: Question): Promise<boolean> {
  const [plain = '', subresource] = resource.split('/');
  const attributes = { group: group === 'core' ? '' : group, resource: plain, subresource, verb, namespace, name };
  const user = `system:serviceaccount:${OBJECTS.systemNamespace}:penstock-${account}`;
  const groups = [
    'system:serviceaccounts',
    `system:serviceaccounts:${OBJECTS.systemNamespace}`,
    'system:authenticated',
  ];
  const answer = (await client.call({
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: { user, groups, resourceAttributes: attributes },
    },
  })) as { status: { allowed: boolean } };
  return answer.status.allowed;
}

async function wrongAnswers(account: string): Promise<string[]> {
  const wrong: string[] = [];
  const open = questions(account);
  const ask = async (): Promise<void> => {
    for (let question = open.pop(); question !== undefined; question = open.pop()) {
      const wanted = granted(question);
      if ((await mayIt(question)) === wanted) continue;
      const { verb, group, resource, namespace, name } = question;
      wrong.push(`${account} ${wanted ? 'may not' : 'may'} ${verb} ${group} ${resource} ${namespace}/${name}`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, ask));
  return wrong.toSorted((a, b) => (a < b ? -1 : 1));
}

describe('the table of permissions', () => {
  it('names resources that are asked about', () => {
    const asked = new Set(RESOURCES.map(({ group, resource }) => `${group} ${resource}`));
    const unasked = rows.filter(({ group, resource }) => !asked.has(`${group} ${resource}`));
    expect(rows.length).toBeGreaterThan(10);
    expect(unasked).toEqual([]);
  });

  it('is what the operator may do, and all of it', async () => {
    expect(await wrongAnswers('operator')).toEqual([]);
  });

  it('is what the gateway may do, and all of it', async () => {
    expect(await wrongAnswers('gateway')).toEqual([]);
  });

  it('is what the webhook may do, and all of it', async () => {
    expect(await wrongAnswers('webhook')).toEqual([]);
  });
});

describe('the refusals that matter most', () => {
  const cases: Record<string, Omit<Question, 'name'>> = {
    'the operator can not delete a pod': {
      account: 'operator',
      group: 'core',
      resource: 'pods',
      verb: 'delete',
      namespace: 'team',
    },
    'the operator can not evict a pod': {
      account: 'operator',
      group: 'core',
      resource: 'pods/eviction',
      verb: 'create',
      namespace: 'team',
    },
    'the operator can not list Secrets': {
      account: 'operator',
      group: 'core',
      resource: 'secrets',
      verb: 'list',
      namespace: 'team',
    },
    'the operator can not read a unit token': {
      account: 'operator',
      group: 'core',
      resource: 'secrets',
      verb: 'get',
      namespace: 'team',
    },
    'the operator can not delete all Jobs at once': {
      account: 'operator',
      group: 'batch',
      resource: 'jobs',
      verb: 'deletecollection',
      namespace: 'team',
    },
    'the gateway can not see a Job': {
      account: 'gateway',
      group: 'batch',
      resource: 'jobs',
      verb: 'get',
      namespace: 'team',
    },
    'the gateway can not read a Secret': {
      account: 'gateway',
      group: 'core',
      resource: 'secrets',
      verb: 'get',
      namespace: 'team',
    },
    'the webhook can not create a pod': {
      account: 'webhook',
      group: 'core',
      resource: 'pods',
      verb: 'create',
      namespace: 'team',
    },
    "the webhook can not change another's webhook": {
      account: 'webhook',
      group: 'admissionregistration.k8s.io',
      resource: 'mutatingwebhookconfigurations',
      verb: 'patch',
      namespace: '',
    },
    'the webhook can not read a Secret beside its own': {
      account: 'webhook',
      group: 'core',
      resource: 'secrets',
      verb: 'get',
      namespace: 'penstock-system',
    },
  };
  it.each(Object.entries(cases))('%s', async (_name, question) => {
    expect(await mayIt({ ...question, name: 'anything' })).toBe(false);
  });
});

describe('the right to create a Lease', () => {
  const lease = (name: string): string =>
    JSON.stringify({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name, namespace: OBJECTS.systemNamespace },
    });
  const apply = async (account: string, name: string): Promise<string> => {
    const folder = mkdtempSync(join(tmpdir(), 'penstock-rbac-'));
    try {
      writeFileSync(join(folder, 'lease.json'), lease(name));
      const as = `system:serviceaccount:${OBJECTS.systemNamespace}:penstock-${account}`;
      return await api.kube('apply', '--server-side', '-f', join(folder, 'lease.json'), `--as=${as}`);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };

  it.each([
    ['operator', OBJECTS.operatorLease, OBJECTS.webhookLease],
    ['webhook', OBJECTS.webhookLease, OBJECTS.operatorLease],
  ])('of the %s is one to make its own', async (account, own, other) => {
    await expect(apply(account, other)).rejects.toThrow('forbidden');
    expect(await apply(account, own)).toContain('serverside-applied');
    await api.kube('delete', 'lease', own, '-n', OBJECTS.systemNamespace);
  });
});

describe('the right to create Jobs, of the webhook', () => {
  const job = JSON.stringify({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: 'tried', namespace: 'default' },
    spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'x' }] } } },
  });
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'penstock-rbac-'));
    writeFileSync(join(folder, 'job.json'), job);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const create = (...flags: string[]): Promise<string> => {
    const as = `system:serviceaccount:${OBJECTS.systemNamespace}:penstock-webhook`;
    return api.kube('create', '-f', join(folder, 'job.json'), `--as=${as}`, ...flags);
  };

  it('is one to try them, and none to create one', async () => {
    const isRefused = (): Promise<boolean> =>
      create().then(
        () => false,
        (err: unknown) => String(err).includes('may only try'),
      );
    // The policy is enforced a moment after it was installed.
    await until(isRefused, { what: 'a real Job to be refused' });
    await api.kube('delete', 'job', 'tried', '--ignore-not-found');
    expect(await create('--dry-run=server')).toContain('created (server dry run)');
    expect(await api.kube('get', 'jobs', '-A', '-o', 'name')).toBe('');
  });
});
