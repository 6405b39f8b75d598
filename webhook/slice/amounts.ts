// SPDX-License-Identifier: Apache-2.0
// Amounts of resources as numbers that add up exactly: thousandths of `cpu`, as the scheduler counts them; bytes and units of all else.
import { parseQuantity } from '#kube/quantity.ts';

const BYTES = /^(?:memory|ephemeral-storage|hugepages-.+)$/;
const GIB = 2 ** 30;

/** 0 for what is no quantity, or less than nothing. */
export function amountOf(resource: string, quantity: unknown): number {
  const value = parseQuantity(quantity) ?? 0;
  // A float's last digit is not to make a thousandth more of what is just one.
  const amount = resource === 'cpu' ? Math.ceil(Number((value * 1000).toFixed(3))) : Math.ceil(value);
  return Number.isFinite(amount) && amount > 0 ? amount : 0;
}

/** `1.5 cpu`, `64 GiB of memory`, `2 rdma/hca` */
export function amountText(resource: string, amount: number): string {
  if (resource === 'cpu') return `${amount / 1000} cpu`;
  return BYTES.test(resource) ? `${gibibytes(amount)} of ${resource}` : `${amount} ${resource}`;
}

/** To a hundredth; bytes where it is less than that. */
export function gibibytes(bytes: number): string {
  return bytes < GIB / 100 ? `${bytes} bytes` : `${Number((bytes / GIB).toFixed(2))} GiB`;
}
